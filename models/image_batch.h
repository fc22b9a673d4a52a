#pragma once
// Pictures of any sizes -> one batch of normalised images, as a detector's backbone takes them.

#include <array>
#include <cstdint>
#include <vector>

#include "usol/ops/all_reduce.h"
#include "usol/tensor/size.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// How a network wants colours: (value - mean) / deviation of each of red, green and blue, in the order RGB or BGR.
struct PixelScale {
  std::array<float, 3> mean{123.675f, 116.28f, 103.53f}, deviation{58.395f, 57.12f, 57.375f};  // of red, green, blue
  bool blue_first = false;
};

/// Pictures u8 (or f32, 0..255) [H, W, 3] RGB on the CPU -> [N, 3, H', W'] f32 on the CPU, normalised, then zeros on
/// the right and below: H' and W' are at least `square_px`, multiples of `step_px`, and hold the pictures of all ranks.
/// Throws Error, opened by `who`, without pictures and for other ranks, dtypes or devices.
Tensor image_batch(const char* who, const std::vector<Tensor>& pictures, std::int64_t step_px,
                   std::int64_t square_px = 0, Communicator* ranks = nullptr, const PixelScale& scale = {});

/// Height and width of each picture [H, W, 3].
std::vector<Size> sizes_of(const std::vector<Tensor>& pictures);

}  // namespace usol
