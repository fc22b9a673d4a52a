#pragma once
// What the losses that go by boxes and colours share, FreeSOLO's and BoxInst's: masks are projected on the axes, and
// neighbours of one colour are to agree.
// Source: Tian et al. 2021, "BoxInst", section 3; Wang et al. 2022, "FreeSOLO", section 3.3; the public code of both.

#include <array>
#include <cstdint>
#include <vector>

#include "usol/models/detector.h"
#include "usol/models/solov2/colour_pairs.h"
#include "usol/models/solov2/config.h"
#include "usol/models/solov2/ins_head.h"
#include "usol/models/solov2/targets.h"

namespace usol::solov2 {

/// A batch: what the network says of it, what it is to say, and what else such losses look at.
struct LossInputs {
  const std::vector<Cells>& cells;
  const Tensor& features;  // of the masks, [N, C, h, w]
  const std::vector<LevelTargets>& targets;
  const std::vector<Tensor>& pictures;  // before their colours are normalised
  const std::vector<detection::Truths>& truths;
  std::int64_t step;  // of the training, from 0
};

/// The dice losses of masks' maxima over rows and over columns, summed over both and over the masks: `logits` and
/// `wanted` (0 and 1) f32 [R, h, w] -> a scalar.
Tensor maxima_loss(const Tensor& logits, const Tensor& wanted);
/// The same of means.
Tensor means_loss(const Tensor& logits, const Tensor& wanted);

using AllPairs = std::array<ColourPairs, kPairDirections.size()>;
/// The colour pairs of a batch's pictures.
AllPairs pairs_of(const LossInputs& inputs, const LossOptions& options);

struct PairSums {
  Tensor loss;        // weighted; undefined where the map is too small for any pair
  double weight = 0;  // of all pairs
};
/// -log of the probability that both cells of a pair belong to a mask or neither does, summed over the pairs of one
/// colour of which one cell at least is in the mask's box: `boxes` f32 [R, h, w] of 0 and 1. Pairs of which both are
/// count twice. `logits` are those of a level's masks.
PairSums pairwise_sums(const Tensor& logits, const Tensor& boxes, const LevelTargets& targets, const AllPairs& pairs);
/// What part of its weight the pairwise loss has at a step.
double grown(std::int64_t step, std::int64_t warmup);

/// Adds to a sum that may be undefined so far.
void add_to(Tensor& sum, const Tensor& value);

}  // namespace usol::solov2
