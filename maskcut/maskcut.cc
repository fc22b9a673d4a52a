#include "usol/maskcut/maskcut.h"

#include <string>
#include <utility>

#include "usol/io/resize.h"
#include "usol/maskcut/components.h"
#include "usol/maskcut/crf.h"
#include "usol/maskcut/image_mask.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {

Size working_size(std::int64_t image_height, std::int64_t image_width, const MaskCutOptions& options) {
  return working_size(image_height, image_width, options.size, options.patch, options.native_aspect);
}

namespace {

void check_image(const Tensor& image) {
  check(image.defined() && image.rank() == 3 && image.dtype() == DType::kU8 && image.size(2) == 3 && image.numel() > 0,
        "maskcut: expected a u8 image [H, W, 3], got {}",
        image.defined() ? fmt::format("{} {}", image.dtype(), image.shape()) : "nothing");
}

}  // namespace

MaskCutResult maskcut(const Tensor& features, const Tensor& image, const MaskCutOptions& options) {
  check_image(image);
  return refine_cuts(cut_features(features, working_size(image.size(0), image.size(1), options), options), image,
                     options);
}

MaskCutResult refine_cuts(CutResult cut, const Tensor& image, const MaskCutOptions& options, Device device) {
  check_image(image);
  const auto dump = [&](const char* name, std::size_t stage, const Tensor& value) {
    if (options.dump) options.dump(std::string(name) + "_" + std::to_string(stage + 1), value);
  };
  const std::int64_t height = image.size(0), width = image.size(1);
  const Size frame = working_size(height, width, options);
  MaskCutResult result;
  result.stages = std::move(cut.stages);

  std::vector<Tensor> refined;
  for (const FrameMask& mask : cut.masks) refined.push_back(mask.mask);
  if (options.crf && !refined.empty()) {
    const DenseCrf crf(resize(image.to(Device::cpu()), frame.height, frame.width, io::Filter::kLanczos), {},
                       options.frames.get());
    refined = crf.refine_all(refined, device);
  }
  for (std::size_t i = 0; i < refined.size(); ++i) {
    const std::size_t t = cut.masks[i].stage;
    CutStage& stage = result.stages[t];
    PseudoMask mask;
    Tensor framed = refined[i];
    if (options.crf) {
      dump("C", t, framed);
      framed = fill_holes(framed);
      dump("F", t, framed);
      mask.crf_iou = mask_iou(cut.masks[i].mask, framed);  // the first of them is never empty, so this is a number
      if (mask.crf_iou < 0.5) {
        stage.outcome = StageOutcome::kCrfRejected;
        continue;
      }
    }
    mask.mask = mask_to_image_size(framed, height, width, options.preset);
    dump("R", t, mask.mask);
    if (mask_area(mask.mask) == 0) {
      stage.outcome = StageOutcome::kEmpty;
      continue;
    }
    mask.ncut = stage.ncut;
    mask.score = (1 - mask.ncut / 2) * mask.crf_iou;
    mask.stage = static_cast<int>(t);
    mask.degenerate = stage.degenerate;
    result.masks.push_back(std::move(mask));
  }
  return result;
}

}  // namespace usol::maskcut
