#include "usol/models/rcnn/droploss.h"

#include <algorithm>
#include <array>
#include <set>

#include "usol/autograd/grad_mode.h"
#include "usol/ops/cast.h"
#include "usol/ops/compare.h"
#include "usol/ops/concat.h"
#include "usol/ops/pairwise_iou.h"
#include "usol/ops/rank_values.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"

namespace usol::rcnn {

Tensor droploss_weights(const Tensor& decoded, const Tensor& truths, double iou) {
  const NoGrad no_grad;
  if (decoded.size(0) == 0 || truths.size(0) == 0)
    return Tensor::zeros({decoded.size(0)}, DType::kF32, decoded.device());
  // Not `greater`: an overlap of NaN keeps the region, as in the release.
  const Tensor best = amax(pairwise_iou(decoded, truths), {1});
  return cast(logical_not(less_equal(best, iou)), DType::kF32);
}

Tensor release_truths(const Tensor& gt_boxes) {
  constexpr std::int64_t kLooked = 100;
  const std::int64_t looked = std::min(kLooked, gt_boxes.size(0));
  const std::vector<float> values = gt_boxes.slice(0, 0, looked).to_vector<float>();
  std::set<std::array<float, 4>> distinct;
  for (std::size_t i = 0; i < values.size(); i += 4)
    distinct.insert({values[i], values[i + 1], values[i + 2], values[i + 3]});
  return gt_boxes.slice(0, 0, static_cast<std::int64_t>(distinct.size()));
}

Tensor stage_weights(const DropLoss& droploss, const std::vector<Samples>& samples, const std::vector<Tensor>& decoded,
                     const std::vector<Truths>& truths, Communicator* ranks) {
  if (!droploss.preset) return {};
  check(samples.size() == decoded.size() && samples.size() == truths.size(),
        "droploss: samples of {} pictures, boxes of {}, truths of {}", samples.size(), decoded.size(), truths.size());
  const bool release = droploss.preset == Preset::kRelease;
  const bool off = release && std::any_of(samples.begin(), samples.end(),
                                          [](const Samples& of_picture) { return !of_picture.gt_boxes.defined(); });
  if (release && max_over_ranks(off ? 1 : 0, ranks) > 0) return {};
  std::vector<Tensor> weights;
  for (std::size_t n = 0; n < samples.size(); ++n) {
    weights.push_back(
        droploss_weights(decoded[n], release ? release_truths(samples[n].gt_boxes) : truths[n].boxes, droploss.iou));
  }
  return concat(weights);
}

}  // namespace usol::rcnn
