#include "usol/maskcut/crf.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

// The first of these compiles this file once per instruction set; the order matters.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/maskcut/crf.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace usol::maskcut {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// values[i] = tanh(values[i] / 2); `count` is a multiple of 16.
void tanh_of_half(float* values, std::size_t count) {
  const hn::CappedTag<float, 16> d;
  const auto half = hn::Set(d, 0.5f);
  for (std::size_t i = 0; i < count; i += hn::Lanes(d))
    hn::StoreU(hn::Tanh(d, hn::Mul(half, hn::LoadU(d, values + i))), d, values + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace usol::maskcut
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol::maskcut {
HWY_EXPORT(tanh_of_half);

constinit Kernel<void(const MeanField&, const Tensor&, Tensor&)> mean_field_kernel{"mean_field"};

namespace {

// Checked first, since the lattices are built in the constructor's initialiser list.
const Tensor& checked(const Tensor& image, const CrfOptions& options) {
  check(image.defined() && image.is_cpu() && image.dtype() == DType::kU8 && image.rank() == 3 && image.size(2) == 3 &&
            image.numel() > 0,
        "crf: expected an image u8 [H, W, 3] on the CPU, got {} {}",
        image.defined() ? to_string(image.dtype()) : "no tensor", image.defined() ? to_string(image.shape()) : "");
  check(options.position_sigma_px > 0 && options.bilateral_sigma_px > 0 && options.bilateral_sigma_rgb > 0,
        "crf: expected positive sigmas, got {}, {} and {}", options.position_sigma_px, options.bilateral_sigma_px,
        options.bilateral_sigma_rgb);
  check(options.position_weight >= 0 && options.bilateral_weight >= 0 && options.iterations >= 0,
        "crf: expected weights and iterations of at least 0, got {}, {} and {}", options.position_weight,
        options.bilateral_weight, options.iterations);
  return image;
}

// Pixels in square tiles of one lattice block each, so that a block's pixels share most of their vertices.
std::vector<std::int32_t> tile_order(std::int64_t height, std::int64_t width) {
  constexpr std::int64_t kTile = 64;
  static_assert(kTile * kTile == Permutohedral::kBlock);
  std::vector<std::int32_t> order;
  order.reserve(static_cast<std::size_t>(height * width));
  for (std::int64_t top = 0; top < height; top += kTile)
    for (std::int64_t left = 0; left < width; left += kTile)
      for (std::int64_t y = top; y < std::min(top + kTile, height); ++y)
        for (std::int64_t x = left; x < std::min(left + kTile, width); ++x)
          order.push_back(static_cast<std::int32_t>(y * width + x));
  return order;
}

std::vector<float> position_features(std::span<const std::int32_t> pixels, std::int64_t width, float sigma) {
  std::vector<float> features(2 * pixels.size());
  parallel_for(0, static_cast<std::int64_t>(pixels.size()), 4096, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      features[2 * i] = static_cast<float>(pixels[i] % width) / sigma;
      features[2 * i + 1] = static_cast<float>(pixels[i] / width) / sigma;
    }
  });
  return features;
}

std::vector<float> bilateral_features(std::span<const std::int32_t> pixels, const Tensor& image, float sigma_px,
                                      float sigma_rgb) {
  const Tensor dense = image.contiguous();
  const std::uint8_t* rgb = dense.data<std::uint8_t>();
  const std::int64_t width = dense.size(1);
  std::vector<float> features(5 * pixels.size());
  parallel_for(0, static_cast<std::int64_t>(pixels.size()), 4096, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      float* f = &features[5 * i];
      f[0] = static_cast<float>(pixels[i] % width) / sigma_px;
      f[1] = static_cast<float>(pixels[i] / width) / sigma_px;
      for (int c = 0; c < 3; ++c) f[2 + c] = static_cast<float>(rgb[std::int64_t{3} * pixels[i] + c]) / sigma_rgb;
    }
  });
  return features;
}

// Scales the kernel k to weight * k(i, j) / sqrt(K_i K_j), where K is k applied to ones.
void normalise(Permutohedral& lattice, float weight) {
  std::vector<float> norm(static_cast<std::size_t>(lattice.points()), 1.0f);
  lattice.filter(norm, norm, 1);
  for (float& n : norm) n = static_cast<float>(std::sqrt(weight / (n + 1e-20)));
  lattice.scale(norm);
}

}  // namespace

CrfFrame::CrfFrame(std::int64_t height, std::int64_t width, float position_sigma_px, float position_weight)
    : pixels(tile_order(height, width)), position(position_features(pixels, width, position_sigma_px), 2) {
  normalise(position, position_weight);
}

std::shared_ptr<const CrfFrame> CrfFrames::get(std::int64_t height, std::int64_t width, const CrfOptions& options) {
  Kept wanted{height, width, options.position_sigma_px, options.position_weight};
  const auto take = [&] {
    const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& k) { return k.is_of(wanted); });
    if (found == kept_.end()) return false;
    std::rotate(kept_.begin(), found, found + 1);
    wanted.frame = kept_.front().frame;
    return true;
  };
  {
    const std::lock_guard lock(mutex_);
    if (take()) return wanted.frame;
  }
  // Built without the lock: a thread that waited for another's frame could be one that this loop waits for. Where two
  // build the same one, the first is kept.
  auto built = std::make_shared<const CrfFrame>(height, width, wanted.sigma, wanted.weight);
  const std::lock_guard lock(mutex_);
  if (take()) return wanted.frame;
  wanted.frame = std::move(built);
  kept_.insert(kept_.begin(), wanted);
  if (kept_.size() > kKept) kept_.pop_back();
  return wanted.frame;
}

namespace {

std::shared_ptr<const CrfFrame> frame_of(const Tensor& image, const CrfOptions& options, CrfFrames* frames) {
  CrfFrames own;
  return (frames != nullptr ? *frames : own).get(image.size(0), image.size(1), options);
}

}  // namespace

DenseCrf::DenseCrf(const Tensor& image, const CrfOptions& options, CrfFrames* frames)
    : height_(checked(image, options).size(0)),
      width_(image.size(1)),
      options_(options),
      frame_(frame_of(image, options, frames)),
      bilateral_(bilateral_features(frame_->pixels, image, options.bilateral_sigma_px, options.bilateral_sigma_rgb),
                 5) {
  normalise(bilateral_, options.bilateral_weight);
}

Tensor DenseCrf::refine(const Tensor& mask) const { return refine_all(std::span(&mask, 1)).front(); }

std::vector<Tensor> DenseCrf::refine_all(std::span<const Tensor> masks, Device device) const {
  const std::int64_t count = static_cast<std::int64_t>(masks.size());
  Tensor all = Tensor::empty({count, height_, width_}, DType::kU8);
  for (std::int64_t c = 0; c < count; ++c) {
    const Tensor& mask = masks[static_cast<std::size_t>(c)];
    check(mask.defined() && mask.is_cpu() && mask.dtype() == DType::kU8 && mask.shape() == Shape{height_, width_},
          "crf: expected mask {} as u8 [{}, {}] on the CPU, got {} {}", c, height_, width_,
          mask.defined() ? to_string(mask.dtype()) : "no tensor", mask.defined() ? to_string(mask.shape()) : "");
    all.select(0, c).copy_from(mask);
  }
  std::vector<Tensor> refined;
  if (count == 0) return refined;
  Tensor out = Tensor::empty({count, height_ * width_}, DType::kU8);
  mean_field_kernel(device, {frame_->position, bilateral_, frame_->pixels, options_.iterations, device},
                    all.reshape({count, height_ * width_}), out);
  for (std::int64_t c = 0; c < count; ++c) refined.push_back(out.select(0, c).reshape({height_, width_}));
  return refined;
}

namespace {

// With two labels and Q0 + Q1 = 1 one number per pixel is enough: z = Q1 - Q0. The kernels are linear, so the step
// Q <- softmax(-U + G Q + B Q) becomes z <- tanh((u + G z + B z) / 2) with u = U0 - U1, which for the unary
// -log softmax([1 - m, m]) is 1 inside the mask and -1 outside. Masks are the channels of one filter.
template <int C>
void refine_some(const MeanField& field, const std::uint8_t* masks, std::int64_t used, std::uint8_t* out) {
  const Permutohedral& lattice = field.position;  // both have the same blocks
  const std::int64_t pixels = lattice.points();
  LatticePass<C> position(field.position), bilateral(field.bilateral);
  for (int step = 0; step <= field.iterations; ++step) {
    const bool first_step = step == 0, last_step = step == field.iterations;
    parallel_for_each(0, lattice.blocks(), [&](std::int64_t block) {
      const std::int64_t begin = lattice.block_begin(block), count = lattice.block_end(block) - begin;
      const std::int32_t* pixel = field.pixels.data() + begin;
      std::vector<float> z((static_cast<std::size_t>(count * C) + 15) / 16 * 16);
      for (std::int64_t i = 0; i < count; ++i)
        for (std::int64_t c = 0; c < used; ++c) z[i * C + c] = masks[c * pixels + pixel[i]] ? 1.0f : -1.0f;
      if (!first_step) {
        position.add_slice(block, z.data());
        bilateral.add_slice(block, z.data());
      }
      if (last_step) {
        for (std::int64_t i = 0; i < count; ++i)
          for (std::int64_t c = 0; c < used; ++c) out[c * pixels + pixel[i]] = z[i * C + c] > 0;
      } else {
        HWY_DYNAMIC_DISPATCH(tanh_of_half)(z.data(), z.size());
        position.splat(block, z.data());
        bilateral.splat(block, z.data());
      }
    });
    if (last_step) break;
    position.blur();
    bilateral.blur();
  }
}

void mean_field_cpu(const MeanField& field, const Tensor& masks, Tensor& refined) {
  const std::uint8_t* in = masks.data<std::uint8_t>();
  std::uint8_t* out = refined.mutable_data<std::uint8_t>();
  std::int64_t used = 0;
  for (std::int64_t left = masks.size(0); left > 0; left -= used) {
    used = std::min<std::int64_t>(4, left);
    (used > 2 ? refine_some<4> : used == 2 ? refine_some<2> : refine_some<1>)(field, in, used, out);
    in += used * masks.size(1);
    out += used * masks.size(1);
  }
}

const Register r_mean_field(mean_field_kernel, DeviceType::kCpu, mean_field_cpu);

}  // namespace
}  // namespace usol::maskcut
#endif  // HWY_ONCE
