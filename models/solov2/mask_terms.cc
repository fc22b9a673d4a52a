#include "usol/models/solov2/mask_terms.h"

#include <algorithm>

#include "usol/models/solov2/losses.h"
#include "usol/ops/binary_cross_entropy.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/reduce.h"
#include "usol/ops/view.h"

namespace usol::solov2 {
namespace {

constexpr double kDiceEpsilon = 1e-5;

// log(1 + exp(x)): the cross-entropy of an answer that should be no.
Tensor softplus(const Tensor& x) {
  return binary_cross_entropy_with_logits(x, Tensor::zeros({}, x.dtype(), x.device()));
}

// The dice loss of both projections, summed over rows; `project` goes over one dimension.
template <class Project>
Tensor projection_loss(const Project& of_prediction, const Project& of_target, const Tensor& logits,
                       const Tensor& wanted) {
  Tensor loss;
  for (const int over : {1, 2})
    add_to(loss, sum(dice_loss(of_prediction(logits, over), of_target(wanted, over), kDiceEpsilon)));
  return loss;
}

// The maximum of a sigmoid is that of its argument.
Tensor largest(const Tensor& logits, int over) { return sigmoid(amax(logits, {over})); }
Tensor largest_wanted(const Tensor& wanted, int over) { return amax(wanted, {over}); }
Tensor average(const Tensor& logits, int over) { return mean(sigmoid(logits), {over}); }
Tensor average_wanted(const Tensor& wanted, int over) { return mean(wanted, {over}); }

// The first cells of a direction's pairs in maps [R, h, w], or the second ones.
Tensor of_pairs(const Tensor& maps, const PairDirection& d, bool second) {
  const std::int64_t h = maps.size(1), w = maps.size(2), across = d.dx < 0 ? -d.dx : d.dx;
  const std::int64_t y = second ? d.dy : 0,
                     x = second ? std::max<std::int64_t>(0, d.dx) : std::max<std::int64_t>(0, -d.dx);
  return slice(slice(maps, 1, y, y + h - d.dy), 2, x, x + w - across);
}

Tensor pictures_of_rows(const LevelTargets& targets, const Device& device) {
  std::vector<std::int64_t> of;
  for (std::size_t i = 0; i < targets.rows.size(); ++i)
    of.insert(of.end(), static_cast<std::size_t>(targets.rows[i]), static_cast<std::int64_t>(i));
  return Tensor::from(of, {static_cast<std::int64_t>(of.size())}).to(device);
}

}  // namespace

void add_to(Tensor& sum, const Tensor& value) { sum = sum.defined() ? add(sum, value) : value; }

Tensor maxima_loss(const Tensor& logits, const Tensor& wanted) {
  return projection_loss(largest, largest_wanted, logits, wanted);
}

Tensor means_loss(const Tensor& logits, const Tensor& wanted) {
  return projection_loss(average, average_wanted, logits, wanted);
}

AllPairs pairs_of(const LossInputs& inputs, const LossOptions& options) {
  std::vector<std::int64_t> file_heights;
  for (const detection::Truths& truth : inputs.truths) file_heights.push_back(truth.file_height);
  const Tensor& features = inputs.features;
  return colour_pairs(inputs.pictures, file_heights, {features.size(2), features.size(3)}, options.alike,
                      options.bottom_px, features.device());
}

// With p = sigmoid(x), p p' + (1 - p)(1 - p') is (1 + exp(x + x')) / ((1 + exp x)(1 + exp x')).
PairSums pairwise_sums(const Tensor& logits, const Tensor& boxes, const LevelTargets& targets, const AllPairs& pairs) {
  const Tensor picture_of = pictures_of_rows(targets, logits.device());
  const Tensor alone = softplus(logits);
  PairSums sums;
  for (std::size_t d = 0; d < kPairDirections.size(); ++d) {
    const PairDirection& direction = kPairDirections[d];
    if (pairs[d].from_first.numel() == 0) continue;
    const auto first = [&](const Tensor& maps) { return of_pairs(maps, direction, false); };
    const auto second = [&](const Tensor& maps) { return of_pairs(maps, direction, true); };
    const Tensor weight = add(mul(index_select(pairs[d].from_first, picture_of), first(boxes)),
                              mul(index_select(pairs[d].from_second, picture_of), second(boxes)));
    const Tensor together = softplus(add(first(logits), second(logits)));
    add_to(sums.loss, sum(mul(sub(add(first(alone), second(alone)), together), weight)));
    sums.weight += sum(weight).item();
  }
  return sums;
}

double grown(std::int64_t step, std::int64_t warmup) {
  return warmup == 0 ? 1 : std::min(1.0, static_cast<double>(step + 1) / static_cast<double>(warmup));
}

}  // namespace usol::solov2
