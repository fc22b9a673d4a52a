#pragma once
// f16 (IEEE binary16) and bf16 (the upper half of an f32) as storage types: arithmetic is done in f32.
// Conversions round to nearest even and keep NaN a NaN, as hardware does; on the GPU they are one instruction.

#include <bit>
#include <cstdint>

#include "usol/tensor/host_device.h"

namespace usol {

struct f16 {
  std::uint16_t bits = 0;

  f16() = default;
  USOL_HOST_DEVICE f16(float value) : bits(from_float(value)) {}
  USOL_HOST_DEVICE operator float() const { return to_float(bits); }

  USOL_HOST_DEVICE static std::uint16_t from_float(float value) {
#if defined(__CUDA_ARCH__)
    std::uint16_t rounded_bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(rounded_bits) : "f"(value));
    return rounded_bits;
#else
    const std::uint32_t x = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (x >> 16) & 0x8000u;
    const std::uint32_t magnitude = x & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds to inf
    if (magnitude < 0x38800000u) {  // subnormal in f16: let f32 addition do the rounding
      const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
      return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
    }
    const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
#endif
  }
  USOL_HOST_DEVICE static float to_float(std::uint16_t h) {
#if defined(__CUDA_ARCH__)
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(h));
    return value;
#else
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
    const std::uint32_t magnitude = h & 0x7fffu;
    if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    if (magnitude < 0x400u) {
      const float value = static_cast<float>(magnitude) * 0x1p-24f;
      return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
    }
    return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
#endif
  }
};

struct bf16 {
  std::uint16_t bits = 0;

  bf16() = default;
  USOL_HOST_DEVICE bf16(float value) : bits(from_float(value)) {}
  USOL_HOST_DEVICE operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

  USOL_HOST_DEVICE static std::uint16_t from_float(float value) {
#if defined(__CUDA_ARCH__)
    std::uint16_t rounded_bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded_bits) : "f"(value));
    return rounded_bits;
#else
    const std::uint32_t x = std::bit_cast<std::uint32_t>(value);
    if ((x & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((x >> 16) | 0x40u);
    return static_cast<std::uint16_t>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16);
#endif
  }
};

static_assert(sizeof(f16) == 2 && sizeof(bf16) == 2);

}  // namespace usol
