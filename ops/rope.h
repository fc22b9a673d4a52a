#pragma once
// Rotary position embedding: queries and keys are turned by angles that their token's place gives, so that scores
// depend on differences of places.

#include <cstdint>

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// x cos + turned(x) sin for the last P of x's L tokens, turned([a, b]) = [-b, a] with halves of the last dimension;
/// the tokens before them (class and storage tokens) stay. x [N, H, L, D], floating, D even, any strides; cos and sin
/// [P, D] f32 or f64 with P <= L, two equal halves for a rotation. Computed in f32 (f64 for f64), the dense result has
/// x's dtype. Gradient to x. Throws Error on shapes, dtypes or devices that do not fit. Source: Su et al. 2021,
/// "RoFormer"; halves as in DINOv3.
Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin);

/// What rope() needs of a grid of h x w patches, row by row: [h w, D] f32 on the CPU.
struct RopeTable {
  Tensor cos, sin;
};
/// The angles of patch (r, c) are 2 pi u / period and 2 pi v / period with u = 2 (r + 0.5) / h - 1, v = 2 (c + 0.5) / w
/// - 1, each side by its own length. `periods` [D / 4] floating, on any device. Throws Error on other sizes.
/// Source: Simeoni et al. 2025, "DINOv3".
RopeTable rope_table(std::int64_t h, std::int64_t w, const Tensor& periods);
/// base^(i / (D / 4)) for i < D / 4: [D / 4] f32. Throws Error unless four divides the width D and `base` is positive.
Tensor rope_periods(std::int64_t width, double base = 100);

/// x [N, H, L, D] with a dense last dimension; cos and sin [P, D] dense, f32 (f64 for f64); out [N, H, L, D] dense.
extern Kernel<void(const Tensor& x, const Tensor& cos, const Tensor& sin, Tensor& out)> rope_kernel;

}  // namespace usol
