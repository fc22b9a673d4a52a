#include "usol/models/tta.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "usol/autograd/grad_mode.h"
#include "usol/models/boxes.h"
#include "usol/ops/compare.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/tensor/check.h"

namespace usol::detection {
namespace {

constexpr std::size_t kTogether = 3;        // views in a batch
constexpr double kLeastMergedScore = 1e-8;  // of the objects that are merged

struct View {
  Tensor picture;  // [H, W, 3]
  bool mirrored = false;
  Size size() const { return {picture.size(0), picture.size(1)}; }
};

// In the order opposite along `dim`.
Tensor reversed(const Tensor& a, int dim) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(a.size(dim)));
  std::iota(order.rbegin(), order.rend(), 0);
  return index_select(a, Tensor::from(order, {a.size(dim)}).to(a.device()), dim);
}

// Left and right edges of boxes in the mirror image.
Tensor mirrored_boxes(const Tensor& boxes, std::int64_t width) {
  const auto edge = [&](std::int64_t i) { return affine(boxes.select(1, i), -1, static_cast<double>(width)); };
  return stack({edge(2), boxes.select(1, 1), edge(0), boxes.select(1, 3)}, 1);
}

Tensor between_sizes(const Tensor& boxes, const Size& from, const Size& to) {
  return scaled(boxes, static_cast<double>(to.width) / static_cast<double>(from.width),
                static_cast<double>(to.height) / static_cast<double>(from.height));
}

Tensor to_picture(const Tensor& boxes, const View& view, const Size& size) {
  return between_sizes(view.mirrored ? mirrored_boxes(boxes, view.size().width) : boxes, view.size(), size);
}

Tensor to_view(const Tensor& boxes, const View& view, const Size& size) {
  const Tensor there = between_sizes(boxes, size, view.size());
  return view.mirrored ? mirrored_boxes(there, view.size().width) : there;
}

Detections merged(const std::vector<Detections>& found, const std::vector<View>& views, const Size& size,
                  const DetectOptions& options) {
  std::vector<Tensor> boxes, scores, classes;
  for (std::size_t i = 0; i < views.size(); ++i) {
    boxes.push_back(to_picture(found[i].boxes, views[i], size));
    scores.push_back(found[i].scores);
    classes.push_back(found[i].classes);
  }
  const Tensor all = concat(scores), rows = nonzero(greater(all, kLeastMergedScore));
  return best_of(index_select(clip(concat(boxes), size), rows), index_select(all, rows),
                 index_select(concat(classes), rows), options);
}

}  // namespace

void check_augmentable(const Detector& model) {
  check(
      !model.info().whole_masks, ErrorKind::kUsage,
      "test-time augmentation merges the boxes of several views and asks for masks inside them; {} finds masks of the "
      "whole picture and has none for boxes: use it without",
      model.info().name);
}

Detections detect_augmented(const Detector& model, const std::vector<Tensor>& pictures, bool mirrored, const Size& size,
                            const DetectOptions& options) {
  check(!pictures.empty(), "detect_augmented: no views of the picture");
  check_augmentable(model);
  const NoGrad no_grad;
  std::vector<View> views;
  for (const Tensor& picture : pictures) {
    views.push_back({picture, false});
    if (mirrored) views.push_back({reversed(picture, 1), true});
  }
  std::vector<Seen> batches;
  std::vector<Detections> found;
  for (std::size_t first = 0; first < views.size(); first += kTogether) {
    std::vector<Tensor> together;
    for (std::size_t i = first; i < std::min(first + kTogether, views.size()); ++i)
      together.push_back(views[i].picture);
    batches.push_back(model.see(together, options));
    found.insert(found.end(), batches.back().found.begin(), batches.back().found.end());
  }
  Detections result = merged(found, views, size, options);
  if (!model.info().masks) return result;
  std::size_t at = 0;
  for (Seen& batch : batches) {
    for (Detections& there : batch.found) there = {to_view(result.boxes, views[at++], size), {}, result.classes, {}};
    model.add_masks(batch);
    for (std::size_t i = 0; i < batch.found.size(); ++i) {
      const View& view = views[at - batch.found.size() + i];
      const Tensor& masks = batch.found[i].masks;
      const Tensor upright = view.mirrored ? reversed(masks, 2) : masks;
      result.masks = result.masks.defined() ? add(result.masks, upright) : upright;
    }
    batch = {};
  }
  result.masks = affine(result.masks, 1.0 / static_cast<double>(views.size()));
  return result;
}

}  // namespace usol::detection
