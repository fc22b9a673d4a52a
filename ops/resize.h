#pragma once
// Resizing of feature maps as PyTorch's interpolate does it (align_corners false). For 8-bit pictures see io/resize.h,
// which is Pillow's.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

enum class ResizeFilter { kNearest, kBilinear, kBicubic };

struct ResizeOptions {
  ResizeFilter filter = ResizeFilter::kBilinear;
  /// Low-pass when shrinking (bilinear, bicubic). PyTorch's cubic has a = -0.5 then, and a = -0.75 otherwise.
  bool antialias = false;
  /// Output size / input size as it goes into the sampling coordinates; 0: the sizes' own ratio. PyTorch's
  /// interpolate(scale_factor=s) floors the size but samples with s itself.
  double scale_h = 0, scale_w = 0;
};

/// x [N, C, H, W] floating -> [N, C, height, width], channels last in memory if x is. Gradient to x. Throws Error on
/// other ranks or dtypes, empty maps, sizes below 1, or antialias with kNearest.
Tensor resize(const Tensor& x, std::int64_t height, std::int64_t width, const ResizeOptions& options = {});

/// Resamples the middle axis: out[a, i, b] = sum_t weight[i, t] x[a, index[i, t], b]. x [A, n, B] and out [A, m, B]
/// dense, index [m, T] i32, weight [m, T] f32 (f64 for f64).
extern Kernel<void(const Tensor& x, const Tensor& index, const Tensor& weight, Tensor& out)> resample_kernel;

}  // namespace usol
