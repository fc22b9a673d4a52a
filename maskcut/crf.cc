#include "maskcut/crf.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tensor/check.h"

namespace usol {
namespace {

// Checked first, since the lattices are built in the constructor's initialiser list.
const Tensor& checked(const Tensor& image, const CrfOptions& options) {
  check(image.defined() && image.dtype() == DType::kU8 && image.rank() == 3 && image.size(2) == 3 && image.numel() > 0,
        "crf: expected an image u8 [H, W, 3], got {} {}", image.defined() ? to_string(image.dtype()) : "no tensor",
        image.defined() ? to_string(image.shape()) : "");
  check(options.position_sigma_px > 0 && options.bilateral_sigma_px > 0 && options.bilateral_sigma_rgb > 0,
        "crf: expected positive sigmas, got {}, {} and {}", options.position_sigma_px, options.bilateral_sigma_px,
        options.bilateral_sigma_rgb);
  check(options.position_weight >= 0 && options.bilateral_weight >= 0 && options.iterations >= 0,
        "crf: expected weights and iterations of at least 0, got {}, {} and {}", options.position_weight,
        options.bilateral_weight, options.iterations);
  return image;
}

std::vector<float> position_features(std::int64_t height, std::int64_t width, float sigma) {
  std::vector<float> features;
  features.reserve(static_cast<std::size_t>(2 * height * width));
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      features.push_back(static_cast<float>(x) / sigma);
      features.push_back(static_cast<float>(y) / sigma);
    }
  return features;
}

std::vector<float> bilateral_features(const Tensor& image, float sigma_px, float sigma_rgb) {
  const Tensor dense = image.contiguous();
  const std::uint8_t* rgb = dense.data<std::uint8_t>();
  const std::int64_t height = dense.size(0), width = dense.size(1);
  std::vector<float> features;
  features.reserve(static_cast<std::size_t>(5 * height * width));
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      features.push_back(static_cast<float>(x) / sigma_px);
      features.push_back(static_cast<float>(y) / sigma_px);
      for (int c = 0; c < 3; ++c) features.push_back(static_cast<float>(*rgb++) / sigma_rgb);
    }
  return features;
}

std::vector<float> symmetric_norm(const Permutohedral& lattice) {
  std::vector<float> norm(static_cast<std::size_t>(lattice.points()), 1.0f);
  lattice.filter(norm, norm, 1);
  for (float& n : norm) n = static_cast<float>(1.0 / std::sqrt(n + 1e-20));
  return norm;
}

}  // namespace

DenseCrf::DenseCrf(const Tensor& image, const CrfOptions& options)
    : height_(checked(image, options).size(0)),
      width_(image.size(1)),
      options_(options),
      position_(position_features(height_, width_, options.position_sigma_px), 2),
      bilateral_(bilateral_features(image, options.bilateral_sigma_px, options.bilateral_sigma_rgb), 5),
      position_norm_(symmetric_norm(position_)),
      bilateral_norm_(symmetric_norm(bilateral_)) {}

Tensor DenseCrf::refine(const Tensor& mask) const { return refine_all(std::span(&mask, 1)).front(); }

// With two labels and Q0 + Q1 = 1 one number per pixel is enough: z = Q1 - Q0. The kernels are linear, so the step
// Q <- softmax(-U + 7 G Q + 10 B Q) becomes z <- tanh((u + 7 G z + 10 B z) / 2) with u = U0 - U1, which for the unary
// -log softmax([1 - m, m]) is 1 inside the mask and -1 outside.
std::vector<Tensor> DenseCrf::refine_all(std::span<const Tensor> masks) const {
  const std::size_t pixels = static_cast<std::size_t>(height_ * width_), channels = masks.size();
  if (channels == 0) return {};
  std::vector<float> unary(pixels * channels);
  for (std::size_t c = 0; c < channels; ++c) {
    check(masks[c].defined() && masks[c].dtype() == DType::kU8 && masks[c].shape() == Shape{height_, width_},
          "crf: expected mask {} as u8 [{}, {}], got {} {}", c, height_, width_,
          masks[c].defined() ? to_string(masks[c].dtype()) : "no tensor",
          masks[c].defined() ? to_string(masks[c].shape()) : "");
    const Tensor dense = masks[c].contiguous();
    const std::uint8_t* m = dense.data<std::uint8_t>();
    for (std::size_t i = 0; i < pixels; ++i) unary[i * channels + c] = m[i] ? 1.0f : -1.0f;
  }
  std::vector<float> logit = unary, z(unary.size()), message(unary.size());
  for (int step = 0; step < options_.iterations; ++step) {
    for (std::size_t i = 0; i < z.size(); ++i) z[i] = std::tanh(0.5f * logit[i]);
    logit = unary;
    const auto add_message = [&](const Permutohedral& lattice, const std::vector<float>& norm, float weight) {
      for (std::size_t i = 0; i < z.size(); ++i) message[i] = z[i] * norm[i / channels];
      lattice.filter(message, message, static_cast<int>(channels));
      for (std::size_t i = 0; i < z.size(); ++i) logit[i] += weight * norm[i / channels] * message[i];
    };
    add_message(position_, position_norm_, options_.position_weight);
    add_message(bilateral_, bilateral_norm_, options_.bilateral_weight);
  }
  std::vector<Tensor> refined;
  for (std::size_t c = 0; c < channels; ++c) {
    refined.push_back(Tensor::empty(Shape{height_, width_}, DType::kU8));
    std::uint8_t* m = refined.back().mutable_data<std::uint8_t>();
    for (std::size_t i = 0; i < pixels; ++i) m[i] = logit[i * channels + c] > 0;
  }
  return refined;
}

}  // namespace usol
