#pragma once
// Maps at another size, as PyTorch's interpolate makes them (align_corners false). io/resize.h resizes 8-bit pictures
// as Pillow does.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

enum class InterpolateMode { kNearest, kBilinear, kBicubic };

struct InterpolateOptions {
  InterpolateMode mode = InterpolateMode::kBilinear;
  /// Low-pass when shrinking (bilinear, bicubic). PyTorch's cubic has a = -0.5 then, and a = -0.75 otherwise.
  bool antialias = false;
  /// Output size / input size as it goes into the sampling coordinates; 0: the sizes' own ratio. PyTorch's
  /// interpolate(scale_factor=s) floors the size but samples with s itself.
  double scale_h = 0, scale_w = 0;
};

/// x [N, C, H, W] floating -> [N, C, height, width], channels last in memory if x is. Gradient to x. Throws Error on
/// other ranks or dtypes, empty maps, sizes below 1, or antialias with kNearest.
Tensor interpolate(const Tensor& x, std::int64_t height, std::int64_t width, const InterpolateOptions& options = {});

/// Resamples the middle axis: out[a, i, b] = sum_t weight[i, t] x[a, index[i, t], b]. x [A, n, B] and out [A, m, B]
/// dense, index [m, T] i32, weight [m, T] f32 (f64 for f64).
extern Kernel<void(const Tensor& x, const Tensor& index, const Tensor& weight, Tensor& out)> resample_kernel;

}  // namespace usol
