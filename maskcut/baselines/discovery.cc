#include "usol/maskcut/baselines/discovery.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "usol/maskcut/image_mask.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {

PixelBox pixel_box(const Tensor& mask, std::int64_t patch, const Size& picture) {
  const PixelBox box = bounding_box(mask);
  return {box.x0 * patch, box.y0 * patch, std::min(box.x1 * patch, picture.width),
          std::min(box.y1 * patch, picture.height)};
}

Tensor pixel_mask(const Tensor& mask, std::int64_t patch, const Size& picture) {
  check(mask.rank() == 2 && mask.dtype() == DType::kU8 && patch >= 1 && mask.size(0) * patch >= picture.height &&
            mask.size(1) * patch >= picture.width,
        "pixel_mask: a mask {} {} of patches of {} pixels does not cover {} x {}", mask.dtype(), mask.shape(), patch,
        picture.height, picture.width);
  const Tensor source = mask.contiguous();
  const std::uint8_t* in = source.data<std::uint8_t>();
  Tensor out = Tensor::empty({picture.height, picture.width}, DType::kU8);
  std::uint8_t* o = out.mutable_data<std::uint8_t>();
  for (std::int64_t y = 0; y < picture.height; ++y)
    for (std::int64_t x = 0; x < picture.width; ++x) *o++ = in[y / patch * mask.size(1) + x / patch] != 0;
  return out;
}

DiscoveredObjects in_picture(const std::vector<Discovery>& objects, const DiscoverScene& scene) {
  const std::int64_t height = scene.image.size(0), width = scene.image.size(1);
  const bool own_size = scene.pixels == Size{height, width};
  DiscoveredObjects found;
  for (const Discovery& object : objects) {
    const Tensor frame = pixel_mask(object.mask, scene.patch, scene.pixels);
    found.add(own_size ? frame : mask_to_image_size(frame, height, width, Preset::kPaper));
    // At the picture's own size the method's box is the result; it may differ from the mask's (dino-seg, release).
    if (!own_size || found.objects.empty()) continue;
    const PixelBox& b = object.box;
    found.objects.back().box = {static_cast<double>(b.x0), static_cast<double>(b.y0), static_cast<double>(b.x1 - b.x0),
                                static_cast<double>(b.y1 - b.y0)};
  }
  return found;
}

bool all_connected(const Tensor& features, const AffinityOptions& options) {
  const std::int64_t patches = features.size(1) * features.size(2);
  const PatchGraph graph(normalize_features(features.contiguous().reshape({features.size(0), patches})), options);
  const auto all = static_cast<double>(patches);
  return std::all_of(graph.degrees().begin(), graph.degrees().end(), [&](double degree) { return degree == all; });
}

void check_patch_features(const char* op, const Tensor& features, std::int64_t patch, const Size& picture) {
  check(features.defined() && features.is_cpu() && features.dtype() == DType::kF32 && features.rank() == 3 &&
            features.numel() > 0,
        "{}: expected f32 [D, h, w] on the CPU, got {} {}", op,
        features.defined() ? to_string(features.dtype()) : "no tensor",
        features.defined() ? to_string(features.shape()) : "");
  check(
      patch >= 1 && features.size(1) == (picture.height + patch - 1) / patch &&
          features.size(2) == (picture.width + patch - 1) / patch,
      "{}: {} x {} patches of {} pixels do not cover a picture of {} x {} (features from another program's files need "
      "their patch)",
      op, features.size(1), features.size(2), patch, picture.height, picture.width);
  const Tensor dense = features.contiguous();
  const float* value = dense.data<float>();
  for (std::int64_t i = 0; i < dense.numel(); ++i)
    check(std::isfinite(value[i]), "{}: value {} of the features is not finite", op, i);
}

}  // namespace usol::maskcut
