#pragma once
// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): counter based, so the i-th number
// of a stream depends on (seed, stream, i) only, and CPU and CUDA give the same bits in any order.

#include <array>
#include <cstdint>

#include "usol/tensor/host_device.h"

namespace usol {

/// Four random 32-bit words from a 128-bit counter and a 64-bit key.
USOL_HOST_DEVICE inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t key) {
  std::uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
    const std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const std::uint32_t n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

/// A stream of random numbers. Copy it to fork the state; two words (seed, position) restore it exactly.
class Generator {
 public:
  explicit Generator(std::uint64_t seed = 0, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  std::uint64_t seed() const { return seed_; }
  std::uint64_t stream() const { return stream_; }
  std::uint64_t position() const { return position_; }
  void set_position(std::uint64_t position) { position_ = position; }
  /// Reserves `count` positions and returns the first: the kernels of random ops index from there.
  std::uint64_t reserve(std::uint64_t count) {
    const std::uint64_t first = position_;
    position_ += count;
    return first;
  }

  /// The 32-bit word at `position` of this stream: word position % 4 of block position / 4.
  USOL_HOST_DEVICE static std::uint32_t word(std::uint64_t seed, std::uint64_t stream, std::uint64_t position) {
    const std::uint64_t block = position / 4;
    return philox({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                   static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
                  seed)[position % 4];
  }
  /// A word as a float in [0, 1): its upper 24 bits.
  USOL_HOST_DEVICE static float to_unit(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

  std::uint32_t next_word() { return word(seed_, stream_, position_++); }
  /// Uniform in [0, 1), 24 bits.
  float uniform() { return to_unit(next_word()); }
  /// Uniform in [low, high).
  double uniform(double low, double high);
  /// Uniform integer in [0, n), n > 0, without bias.
  std::uint64_t below(std::uint64_t n);
  /// Standard normal (Box-Muller; two words).
  float normal();

 private:
  std::uint64_t seed_, stream_, position_ = 0;
};

}  // namespace usol
