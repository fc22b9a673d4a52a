#pragma once
// The picture that several scripts in tests/golden/ compute, too: noise() of make_image.py.

#include <cstdint>

#include "usol/tensor/tensor.h"

namespace usol::test {

/// u8 [height, width, channels]: rows of all values and rows of full contrast, eight of each in turn.
inline Tensor noise(std::int64_t height, std::int64_t width, std::int64_t channels) {
  Tensor image = Tensor::empty({height, width, channels}, DType::kU8);
  std::uint8_t* out = image.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < image.numel(); ++i) {
    std::uint32_t v = static_cast<std::uint32_t>(i) * 2654435761u;
    v ^= v >> 15;
    v *= 2246822519u;
    v ^= v >> 13;
    const bool contrast = i / (width * channels) / 8 % 2 == 1;
    out[i] = static_cast<std::uint8_t>(contrast ? (v & 255) / 128 * 255 : v & 255);
  }
  return image;
}

}  // namespace usol::test
