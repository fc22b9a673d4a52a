// The product of bf16_products.h by AMX's tiles (TDPBF16PS: sixteen rows by sixteen columns, of sixteen pairs each),
// with intrinsics. A tile of pairs lies in memory as the columns of Bf16Tile::b do, so nothing is packed anew. Only
// what is marked USOL_TARGET is compiled for these instructions; everything else here runs on any CPU. A test compiles
// this file once more with the tiles replaced by arrays.
#include "usol/ops/bf16_products.h"

#if defined(__x86_64__) && defined(__linux__)

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#ifndef USOL_TARGET
#define USOL_TARGET __attribute__((target("amx-tile,amx-bf16")))
#endif

namespace usol {
namespace {

// Of a tile: rows, columns, and pairs that one instruction multiplies.
constexpr std::int64_t kTile = 16;
// Two tiles of rows by two of columns are summed at once, which takes all eight: four of sums, two of a, two of b.
constexpr std::int64_t kMostRows = 2 * kTile, kStep = 2 * kTile;
static_assert(Bf16Products::kColumns % kStep == 0);

// What LDTILECFG reads: all eight tiles whole.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Bf16Tile with 16 or 32 rows and a multiple of 16 pairs that lie one after another.
template <bool kTwo>
USOL_TARGET void multiply_whole(const Bf16Tile& t) {
  constexpr std::int64_t kFloat = sizeof(float), kWord = sizeof(std::uint32_t), kHalf = sizeof(bf16);
  for (std::int64_t column = 0; column < Bf16Products::kColumns; column += kStep) {
    float *left = t.sums + column, *right = left + kTile;
    if (t.accumulate) {
      _tile_loadd(0, left, t.sums_stride * kFloat);
      _tile_loadd(1, right, t.sums_stride * kFloat);
      if constexpr (kTwo) {
        _tile_loadd(2, left + kTile * t.sums_stride, t.sums_stride * kFloat);
        _tile_loadd(3, right + kTile * t.sums_stride, t.sums_stride * kFloat);
      }
    } else {
      _tile_zero(0);
      _tile_zero(1);
      if constexpr (kTwo) {
        _tile_zero(2);
        _tile_zero(3);
      }
    }
    for (std::int64_t i = 0; i < t.pairs; i += kTile) {
      const std::uint32_t* b = t.b + i * t.b_stride + column;
      _tile_loadd(4, t.a + 2 * i, t.a_stride * kHalf);
      _tile_loadd(6, b, t.b_stride * kWord);
      _tile_loadd(7, b + kTile, t.b_stride * kWord);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kTwo) {
        _tile_loadd(5, t.a + kTile * t.a_stride + 2 * i, t.a_stride * kHalf);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    _tile_stored(0, left, t.sums_stride * kFloat);
    _tile_stored(1, right, t.sums_stride * kFloat);
    if constexpr (kTwo) {
      _tile_stored(2, left + kTile * t.sums_stride, t.sums_stride * kFloat);
      _tile_stored(3, right + kTile * t.sums_stride, t.sums_stride * kFloat);
    }
  }
}

void multiply_tiles(const Bf16Tile& t) { t.rows <= kTile ? multiply_whole<false>(t) : multiply_whole<true>(t); }

// Any rows, pairs and steps: by way of copies that zeros make whole.
void multiply_padded(const Bf16Tile& t) {
  constexpr std::int64_t kColumns = Bf16Products::kColumns;
  thread_local std::vector<bf16> a;
  thread_local std::vector<std::uint32_t> b;
  thread_local std::vector<float> sums;
  const std::int64_t rows = t.rows <= kTile ? kTile : kMostRows, pairs = (t.pairs + kTile - 1) / kTile * kTile;
  a.assign(static_cast<std::size_t>(rows * 2 * pairs), bf16{});
  sums.assign(static_cast<std::size_t>(rows * kColumns), 0.0f);
  for (std::int64_t r = 0; r < t.rows; ++r) {
    for (std::int64_t i = 0; i < t.pairs; ++i)
      std::copy_n(t.a + r * t.a_stride + i * t.a_step, 2, a.data() + 2 * (r * pairs + i));
    if (t.accumulate) std::copy_n(t.sums + r * t.sums_stride, kColumns, sums.data() + r * kColumns);
  }
  Bf16Tile whole{a.data(),    2 * pairs, t.b, t.b_stride, sums.data(), kColumns, pairs, static_cast<int>(rows),
                 t.accumulate};
  if (pairs > t.pairs) {
    b.assign(static_cast<std::size_t>(pairs * kColumns), 0u);
    for (std::int64_t i = 0; i < t.pairs; ++i) std::copy_n(t.b + i * t.b_stride, kColumns, b.data() + i * kColumns);
    whole.b = b.data();
    whole.b_stride = kColumns;
  }
  multiply_tiles(whole);
  for (std::int64_t r = 0; r < t.rows; ++r)
    std::copy_n(sums.data() + r * kColumns, kColumns, t.sums + r * t.sums_stride);
}

thread_local int sections = 0;  // of this thread, one within the other

USOL_TARGET void begin_section() {
  static constexpr TileConfig config;
  if (sections++ == 0) _tile_loadconfig(&config);
}

USOL_TARGET void end_section() {
  if (--sections == 0) _tile_release();
}

void multiply_amx(const Bf16Tile& t) {
  begin_section();
  if (t.rows % kTile == 0 && t.pairs % kTile == 0 && t.a_step == 2)
    multiply_tiles(t);
  else
    multiply_padded(t);
  end_section();
}

// True if the CPU has the instructions and Linux lets this process keep data in tiles.
bool may_use_tiles() {
  unsigned eax, ebx, ecx, edx;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx & kAmxBf16) || !(edx & kAmxTile)) return false;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

const Bf16Products* amx_bf16_products() {
  // What becomes of the sums is AVX512-BF16's, which every CPU with AMX has.
  static const Bf16Products* others = avx512_bf16_products();
  static const Bf16Products products =
      others ? Bf16Products{kMostRows, multiply_amx, others->soften, others->finish, begin_section, end_section}
             : Bf16Products{};
  static const bool supported = others && may_use_tiles();
  return supported ? &products : nullptr;
}

}  // namespace usol

#else

namespace usol {
const Bf16Products* amx_bf16_products() { return nullptr; }
}  // namespace usol

#endif
