#include "usol/train/dino_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "usol/nn/weight_norm.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/ops/softmax.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol::train {
namespace {

// A teacher that learns has an information of tenths of a nat to several, and a spread of a tenth and more.
constexpr double kLeastInformation = 0.01, kLeastSpread = 0.01;

Tensor log_probabilities(const Tensor& student, double temperature) {
  return log_softmax(affine(student, 1 / temperature));
}

}  // namespace

Tensor teacher_log_probabilities(const Tensor& scores, const Tensor& centre, double temperature) {
  return log_softmax(affine(sub(scores, centre), 1 / temperature));
}

Tensor crops_loss(const Tensor& student, const Tensor& teacher, double student_temperature) {
  check(student.rank() == 3 && teacher.rank() == 3 && student.size(1) >= 2 && teacher.size(1) == 2 &&
            student.size(0) == teacher.size(0) && student.size(2) == teacher.size(2),
        "crops_loss: expected scores [N, C, K] and probabilities [N, 2, K], got {} and {}", student.shape(),
        teacher.shape());
  const std::int64_t crops = student.size(1);
  const Tensor log_q = log_probabilities(student, student_temperature);
  const Tensor first = select(teacher, 1, 0), second = select(teacher, 1, 1);
  Tensor total = add(sum(mul(second, select(log_q, 1, 0))), sum(mul(first, select(log_q, 1, 1))));
  // Every other crop meets both of the teacher's.
  if (crops > 2) total = add(total, sum(mul(add(first, second), sum(slice(log_q, 1, 2, crops), {1}))));
  return affine(total, -1 / static_cast<double>(2 * crops - 2));
}

Tensor patches_loss(const Tensor& student, const Tensor& teacher, const Tensor& weights, double student_temperature) {
  check(student.rank() == 2 && student.shape() == teacher.shape() && weights.shape() == Shape({student.size(0)}),
        "patches_loss: expected scores and probabilities [M, K] and weights [M], got {}, {} and {}", student.shape(),
        teacher.shape(), weights.shape());
  const Tensor agreement = sum(mul(teacher, log_probabilities(student, student_temperature)), {1});
  return neg(sum(mul(agreement, weights)));
}

bool is_collapsed(const TeacherFigures& figures) {
  return figures.information < kLeastInformation || figures.spread < kLeastSpread;
}

TeacherSums TeacherSums::of(const Tensor& log_p, const Tensor& features) {
  const Tensor p = exp(log_p);
  return {sum(p, {0}), sum(nn::unit_rows(features), {0}), neg(sum(mul(p, log_p))).reshape({1})};
}

TeacherFigures TeacherSums::figures(std::int64_t crops) const {
  const auto n = static_cast<double>(crops);
  TeacherFigures result;
  result.entropy = static_cast<double>(entropy.to(Device::cpu()).item()) / n;
  double of_mean = 0, squares = 0;
  for (const float value : probabilities.to(Device::cpu()).to_vector<float>()) {
    const double p = static_cast<double>(value) / n;
    if (p > 0) of_mean -= p * std::log(p);
  }
  result.information = of_mean - result.entropy;
  for (const float value : directions.to(Device::cpu()).to_vector<float>())
    squares += static_cast<double>(value) / n * static_cast<double>(value) / n;
  // The variance of directions, summed over dimensions: the mean of |d|^2 = 1 less |mean of d|^2.
  result.spread = std::sqrt(std::max(0.0, 1 - squares));
  return result;
}

}  // namespace usol::train
