#pragma once
// Dense CRF that sharpens a mask to the colours of its image: the step of MaskCut between the upsampled patch mask and
// the final one. Fully connected, two labels, Potts model, mean field.
//
// Source: Kraehenbuehl, Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", 2011.

#include <cstdint>
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

class DenseCrf {
 public:
  /// Builds both kernels' lattices, once for all masks of `image` (u8 [H, W, 3], RGB, on the CPU).
  /// Throws Error for another dtype or shape, an empty image, or an option that is not positive (weights: negative).
  explicit DenseCrf(const Tensor& image, const CrfOptions& options = {});

  /// The refined mask, u8 [H, W] of 0/1; ties go to 0. `mask` is u8 [H, W], nonzero is foreground, of the image's size.
  /// The unary potential is -log softmax([1 - m, m]). Throws Error for another dtype or size.
  Tensor refine(const Tensor& mask) const;

  /// Refines several masks independently, as refine() does each, in about the time of one. `device` does the mean
  /// field; on a GPU a pixel whose labels are equally likely to within rounding may differ from the CPU's.
  std::vector<Tensor> refine_all(std::span<const Tensor> masks, Device device = {}) const;

 private:
  std::int64_t height_ = 0, width_ = 0;
  CrfOptions options_;
  std::vector<std::int32_t> pixel_;     // [H * W], the pixel of each lattice point: tile by tile
  Permutohedral position_, bilateral_;  // with normalisation and weight in them
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
