#pragma once
// The loss of DINO: the student's distribution over prototypes for one crop is to be the teacher's for another crop of
// the picture; and iBOT's, the same for hidden patches of one crop. With figures that show a collapse.
// Source: Caron et al. 2021, algorithm 1; Zhou et al. 2022 (iBOT), section 3.

#include <cstdint>

#include "usol/tensor/tensor.h"

namespace usol::train {

/// log softmax((scores - centre) / temperature): scores [..., K], centre [K].
Tensor teacher_log_probabilities(const Tensor& scores, const Tensor& centre, double temperature);

/// -sum p log q for each teacher crop and each other crop of the student, averaged over these 2 C - 2 pairs and summed
/// over pictures: student's scores [N, C, K], of which the first two crops are the teacher's; the teacher's
/// probabilities [N, 2, K]. One element; gradient to `student`.
Tensor crops_loss(const Tensor& student, const Tensor& teacher, double student_temperature);

/// sum_i weight_i (-sum p_i log q_i) over hidden patches: student's scores and teacher's probabilities [M, K], weights
/// [M]. One element; gradient to `student`.
Tensor patches_loss(const Tensor& student, const Tensor& teacher, const Tensor& weights, double student_temperature);

/// What shows whether a teacher still tells pictures apart.
struct TeacherFigures {
  double entropy = 0;      // of a crop's distribution, the mean over crops, in nats
  double information = 0;  // entropy of the mean distribution less that: 0 if all crops have one distribution
  double spread = 0;       // of the features' directions: 0 if all are one, towards 1 if they have nothing in common
};

/// True if the teacher gives all crops the same answer, whether that is one prototype or all of them alike, or has
/// nearly one feature for all: nothing is learned from there.
bool is_collapsed(const TeacherFigures& figures);

/// Sums over crops that figures are made of, so that ranks can add theirs up; f32 [size].
struct TeacherSums {
  Tensor probabilities, directions, entropy;  // [K], [D], [1]
  /// Of log-probabilities [R, K] and features [R, D] of R crops.
  static TeacherSums of(const Tensor& log_probabilities, const Tensor& features);
  /// `crops`: that were added up.
  TeacherFigures figures(std::int64_t crops) const;
};

}  // namespace usol::train
