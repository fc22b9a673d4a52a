#include "usol/models/rcnn/roi_pooler.h"

#include <algorithm>
#include <cmath>

#include "usol/autograd/grad_mode.h"
#include "usol/models/rcnn/boxes.h"
#include "usol/ops/cast.h"
#include "usol/ops/compare.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/roi_align.h"
#include "usol/tensor/check.h"

namespace usol::rcnn {

Tensor assign_levels(const Tensor& boxes, std::int64_t levels) {
  const NoGrad no_grad;
  constexpr double kCanonicalSize = 224;  // pooled from stride 16, the third level
  const Tensor size =
      affine(div(sqrt(areas(boxes)), Tensor::full({}, kCanonicalSize, boxes.dtype(), boxes.device())), 1, 1e-8);
  // floor(log2(x)) counted up through the powers of two: no logarithm, so nothing to round.
  Tensor level = Tensor::zeros({boxes.size(0)}, DType::kF32, boxes.device());
  for (std::int64_t l = 1; l < levels; ++l)
    level = add(level, cast(greater_equal(size, std::ldexp(1.0, static_cast<int>(l) - 2)), DType::kF32));
  return level.to(DType::kI64);
}

Tensor pool_regions(const std::vector<Tensor>& features, const std::vector<Tensor>& boxes, std::int64_t size,
                    bool channels_last, std::int64_t first_stride_px) {
  check(!features.empty() && static_cast<std::int64_t>(boxes.size()) == features[0].size(0),
        "roi pooler: expected features and boxes of as many pictures, got {} levels and {} pictures", features.size(),
        boxes.size());
  std::vector<double> scales;
  for (std::size_t l = 0; l < features.size(); ++l)
    scales.push_back(std::ldexp(1.0 / static_cast<double>(first_stride_px), -static_cast<int>(l)));
  const Tensor rois = with_image_index(boxes);
  const Tensor level = assign_levels(rois.slice(1, 1, 5), static_cast<std::int64_t>(features.size()));
  return roi_align(features, scales, rois, level, {.height = size, .width = size, .channels_last = channels_last});
}

Tensor crop_masks(const Tensor& masks, const Tensor& truth, const Tensor& boxes, std::int64_t size) {
  check(masks.rank() == 3, "crop_masks: expected masks [G, H, W], got {}", masks.shape());
  const NoGrad no_grad;
  if (boxes.size(0) == 0) return Tensor::zeros({0, size, size}, DType::kF32, boxes.device());
  // f32 masks of hundreds of objects would fill memory: then a share of the boxes is cut out of copies of its masks.
  constexpr std::int64_t kMostAtOnce = 64;
  const auto crops = [&](const Tensor& of, const Tensor& index, const Tensor& share) {
    const Tensor rois = concat({index.to(DType::kF32).unsqueeze(1), share}, 1);
    const Tensor soft = roi_align(of.to(DType::kF32).unsqueeze(1), rois, 1, {.height = size, .width = size});
    return cast(greater_equal(soft.select(1, 0), 0.5), DType::kF32);
  };
  if (masks.size(0) <= kMostAtOnce) return crops(masks, truth, boxes);
  std::vector<Tensor> parts;
  for (std::int64_t first = 0; first < boxes.size(0); first += kMostAtOnce) {
    const std::int64_t end = std::min(first + kMostAtOnce, boxes.size(0));
    parts.push_back(crops(index_select(masks, truth.slice(0, first, end)),
                          Tensor::arange(end - first).to(boxes.device()), boxes.slice(0, first, end)));
  }
  return concat(parts);
}

}  // namespace usol::rcnn
