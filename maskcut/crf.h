#pragma once
// Dense CRF that sharpens a mask to the colours of its image: the step of MaskCut between the upsampled patch mask and
// the final one. Fully connected, two labels, Potts model, mean field.
//
// Source: Kraehenbuehl, Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", 2011.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "usol/maskcut/permutohedral.h"
#include "usol/tensor/device.h"
#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

struct CrfOptions {
  float position_sigma_px = 3;  // smoothness kernel: distance
  float position_weight = 7;
  float bilateral_sigma_px = 50;  // appearance kernel: distance ...
  float bilateral_sigma_rgb = 5;  // ... and colour, in levels of 0..255
  float bilateral_weight = 10;
  int iterations = 10;
};

/// What the CRF of a picture needs that depends on nothing but its size and the smoothness kernel.
struct CrfFrame {
  CrfFrame(std::int64_t height, std::int64_t width, float position_sigma_px, float position_weight);

  std::vector<std::int32_t> pixels;  // [H * W], the pixel of each lattice point: tile by tile
  Permutohedral position;            // with normalisation and weight in it
};

/// The frames that were used last, for pictures that follow each other or are in work together: those of one size share
/// one, which saves the time to build it and room in the processor's caches. May be used by several threads at once.
class CrfFrames {
 public:
  static constexpr std::size_t kKept = 4;  // about 23 bytes for each pixel of each

  /// The frame of a size, built unless it is kept.
  std::shared_ptr<const CrfFrame> get(std::int64_t height, std::int64_t width, const CrfOptions& options);

 private:
  struct Kept {
    std::int64_t height, width;
    float sigma, weight;
    std::shared_ptr<const CrfFrame> frame = {};
    bool is_of(const Kept& other) const {
      return height == other.height && width == other.width && sigma == other.sigma && weight == other.weight;
    }
  };
  std::mutex mutex_;
  std::vector<Kept> kept_;  // used last first
};

class DenseCrf {
 public:
  /// Builds both kernels' lattices, once for all masks of `image` (u8 [H, W, 3], RGB, on the CPU). With `frames` the
  /// smoothness kernel's comes from there; the masks are the same.
  /// Throws Error for another dtype or shape, an empty image, or an option that is not positive (weights: negative).
  explicit DenseCrf(const Tensor& image, const CrfOptions& options = {}, CrfFrames* frames = nullptr);

  /// The refined mask, u8 [H, W] of 0/1; ties go to 0. `mask` is u8 [H, W], nonzero is foreground, of the image's size.
  /// The unary potential is -log softmax([1 - m, m]). Throws Error for another dtype or size.
  Tensor refine(const Tensor& mask) const;

  /// Refines several masks independently, as refine() does each, in about the time of one. `device` does the mean
  /// field; on a GPU a pixel whose labels are equally likely to within rounding may differ from the CPU's.
  std::vector<Tensor> refine_all(std::span<const Tensor> masks, Device device = {}) const;

 private:
  std::int64_t height_ = 0, width_ = 0;
  CrfOptions options_;
  std::shared_ptr<const CrfFrame> frame_;
  Permutohedral bilateral_;  // with normalisation and weight in it
};

/// What the mean field steps of one picture need.
struct MeanField {
  const Permutohedral& position;  // with normalisation and weight in them
  const Permutohedral& bilateral;
  std::span<const std::int32_t> pixels;  // [points]: the pixel of each point of the lattices
  int iterations;
  Device device;  // that does the work
};
/// masks u8 [M, pixels], nonzero is foreground -> refined u8 [M, pixels] of 0/1. Both dense, on the host whatever the
/// device that does the work.
extern Kernel<void(const MeanField& field, const Tensor& masks, Tensor& refined)> mean_field_kernel;

}  // namespace usol::maskcut
