#include "usol/pipeline/crop_descriptor.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/io/whole_pixels.h"
#include "usol/ops/interpolate.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

// Pixels of [from, from + length), limited to 0 ... size, one at least. Edges are rounded as LOST's script rounds them
// (Python's round: halves to the even number), so that crops are its own; elsewhere a box's pixels are those of
// io/whole_pixels.h, which differ where an edge lies on a half.
io::PixelSpan lost_pixels(double from, double length, std::int64_t size) {
  return io::pixels_between(std::nearbyint(from), std::nearbyint(from + length), size);
}

// At length 1, with the floor of PyTorch's normalize.
void make_unit_length(Tensor& token) {
  float* const values = token.mutable_data<float>();
  const std::int64_t n = token.numel();
  double squares = 0;
  for (std::int64_t i = 0; i < n; ++i) squares += static_cast<double>(values[i]) * values[i];
  const double length = std::max(std::sqrt(squares), 1e-12);
  for (std::int64_t i = 0; i < n; ++i) values[i] = static_cast<float>(values[i] / length);
}

}  // namespace

Tensor crop_input(const Tensor& image, const io::Box& box, std::int64_t patch_px, const CropOptions& options,
                  const Normalisation& by) {
  check(image.rank() == 3 && image.size(2) == 3 && image.numel() > 0,
        "crop_input: expected a picture [H, W, 3], got {}", image.shape());
  check(options.short_px >= patch_px, ErrorKind::kUsage,
        "crops: expected a shorter side of at least the network's patch, {} px, got {}", patch_px, options.short_px);
  check(options.longest >= 1, ErrorKind::kUsage, "crops: expected a longest side of at least 1 times the shorter one");
  const io::PixelSpan x = lost_pixels(box[0], box[2], image.size(1)), y = lost_pixels(box[1], box[3], image.size(0));
  const Tensor crop = normalised(image.slice(0, y.first, y.end).slice(1, x.first, x.end), by);
  const std::int64_t h = crop.size(2), w = crop.size(3), side = options.short_px;
  const std::int64_t longer = std::min(
      static_cast<std::int64_t>(static_cast<double>(side * std::max(h, w)) / static_cast<double>(std::min(h, w))),
      side * options.longest);
  const std::int64_t height = w < h ? longer : side, width = w < h ? side : longer;
  const Tensor resized =
      height == h && width == w ? crop : interpolate(crop, height, width, {.mode = InterpolateMode::kBicubic});
  return resized.slice(2, 0, height / patch_px * patch_px).slice(3, 0, width / patch_px * patch_px).contiguous();
}

Tensor crop_class_token(const PatchBackbone& backbone, const Tensor& image, const io::Box& box,
                        const CropOptions& options, const Normalisation& by, Device device) {
  const NoGrad no_grad;
  const Tensor input = crop_input(image, box, backbone.patch_px(), options, by);
  Tensor token = backbone.class_tokens(input.to(device)).select(0, 0).to(Device{}).clone();
  make_unit_length(token);
  return token;
}

}  // namespace usol
