#include "usol/models/detector.h"

#include <algorithm>
#include <utility>

#include "usol/autograd/grad_mode.h"
#include "usol/models/boxes.h"
#include "usol/ops/compare.h"
#include "usol/ops/gather.h"
#include "usol/ops/interpolate.h"
#include "usol/ops/paste_masks.h"
#include "usol/tensor/check.h"

namespace usol {

using detection::Detections;

namespace {

// Twice bilinear, as the public code of SOLOv2 does it: to pixels of the network's input, then to those of the picture.
Tensor whole_masks(const Detections& detections, const Size& size) {
  const NoGrad no_grad;
  const detection::MaskFrame& frame = detections.frame;
  const Tensor& masks = detections.masks;
  if (masks.size(0) == 0) return Tensor::zeros({0, size.height, size.width}, DType::kU8, masks.device());
  const Tensor seen = interpolate(masks.unsqueeze(0), masks.size(1) * frame.cell_px, masks.size(2) * frame.cell_px)
                          .slice(2, 0, frame.picture.height)
                          .slice(3, 0, frame.picture.width);
  return greater(interpolate(seen, size.height, size.width).squeeze(0), 0.5).to(DType::kU8);
}

}  // namespace

std::vector<Detections> Detector::detect(const std::vector<Tensor>& pictures,
                                         const detection::DetectOptions& options) const {
  detection::Seen seen = see(pictures, options);
  add_masks(seen);
  return std::move(seen.found);
}

std::unique_ptr<Detector> load_detector(StateDict state, std::string_view what, Device device, DType dtype) {
  std::vector<std::string> known;
  for (const DetectorKind& kind : Registry<DetectorKind>::all()) {
    const MakeDetector make = kind.recognise(state);
    known.push_back(kind.recognised);
    if (!make) continue;
    std::erase_if(state, [&](const auto& entry) { return kind.leave_out(entry.first); });
    ParamStore store(std::move(state), device, dtype);
    auto detector = make(Scope(store), device, dtype);
    store.load_report().require_ok(what);
    return detector;
  }
  fail(ErrorKind::kFormat,
       fmt::format("{}: not {}; see what the file holds with 'usol info'", what, fmt::join(known, " and not ")));
}

Size network_size(const Size& picture, std::int64_t short_px, std::int64_t most_px) {
  const auto h = static_cast<double>(picture.height), w = static_cast<double>(picture.width);
  const auto wanted = static_cast<double>(short_px), most = static_cast<double>(most_px);
  const double scale = wanted / std::min(h, w);
  double height = h < w ? wanted : scale * h, width = h < w ? scale * w : wanted;
  if (std::max(height, width) > most) {
    const double shrink = most / std::max(height, width);
    height *= shrink;
    width *= shrink;
  }
  return {std::max<std::int64_t>(1, static_cast<std::int64_t>(height + 0.5)),
          std::max<std::int64_t>(1, static_cast<std::int64_t>(width + 0.5))};
}

Detections rescaled(const Detections& detections, const Size& from, const Size& to) {
  const NoGrad no_grad;
  Detections result = detections;
  result.boxes = detection::clip(
      detection::scaled(detections.boxes, static_cast<double>(to.width) / static_cast<double>(from.width),
                        static_cast<double>(to.height) / static_cast<double>(from.height)),
      to);
  const Tensor rows = nonzero(detection::nonempty(result.boxes));
  if (rows.numel() == detections.size()) return result;
  result.boxes = index_select(result.boxes, rows);
  result.scores = index_select(result.scores, rows);
  result.classes = index_select(result.classes, rows);
  if (result.masks.defined()) result.masks = index_select(result.masks, rows);
  return result;
}

Tensor full_masks(const Detections& detections, const Size& size) {
  if (!detections.masks.defined()) return {};
  if (detections.has_whole_masks()) return whole_masks(detections, size);
  return paste_masks(detections.masks, detections.boxes, size.height, size.width);
}

}  // namespace usol
