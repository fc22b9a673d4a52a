#include "usol/train/sums_of_squares.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::train {
namespace {

constexpr std::int64_t kBlock = 256;   // elements that are summed before they join the total, as in ops/reduce.cc
constexpr std::int64_t kTogether = 8;  // blocks whose sums grow side by side, so that no addition waits for another
constexpr std::int64_t kPieceBlocks = 256;  // of a thread at a time: 256 kB

// The sums of `count` blocks of 256, each in the order of its elements.
void sum_blocks(const float* from, std::int64_t count, float* sums) {
  std::int64_t b = 0;
  for (; b + kTogether <= count; b += kTogether) {
    const float* block = from + b * kBlock;
    float sum[kTogether] = {};
    for (std::int64_t i = 0; i < kBlock; ++i)
      for (std::int64_t k = 0; k < kTogether; ++k) sum[k] += block[k * kBlock + i] * block[k * kBlock + i];
    std::copy_n(sum, kTogether, sums + b);
  }
  for (; b < count; ++b) {
    float sum = 0;
    for (std::int64_t i = 0; i < kBlock; ++i) sum += from[b * kBlock + i] * from[b * kBlock + i];
    sums[b] = sum;
  }
}

std::vector<float> sums_on_cpu(const std::vector<Tensor>& tensors) {
  struct Piece {
    const float* from;
    std::int64_t blocks;
    float* sums;
  };
  std::vector<std::vector<float>> sums;  // of each tensor's whole blocks
  std::vector<Piece> pieces;
  for (const Tensor& t : tensors) {
    const std::int64_t blocks = t.numel() / kBlock;
    auto& own = sums.emplace_back(static_cast<std::size_t>(blocks));
    for (std::int64_t b = 0; b < blocks; b += kPieceBlocks)
      pieces.push_back({t.data<float>() + b * kBlock, std::min(kPieceBlocks, blocks - b), own.data() + b});
  }
  parallel_for_each(0, static_cast<std::int64_t>(pieces.size()), [&](std::int64_t p) {
    const Piece& piece = pieces[static_cast<std::size_t>(p)];
    sum_blocks(piece.from, piece.blocks, piece.sums);
  });
  std::vector<float> totals;
  for (std::size_t k = 0; k < tensors.size(); ++k) {
    float total = 0;
    for (const float sum : sums[k]) total += sum;
    const float* from = tensors[k].data<float>();
    float last = 0;
    for (std::int64_t i = tensors[k].numel() / kBlock * kBlock; i < tensors[k].numel(); ++i) last += from[i] * from[i];
    totals.push_back(total + last);
  }
  return totals;
}

}  // namespace

std::vector<float> sums_of_squares(const std::vector<Tensor>& tensors) {
  if (tensors.empty()) return {};
  for (const Tensor& t : tensors)
    check(t.dtype() == DType::kF32 && t.is_contiguous() && t.device() == tensors.front().device(),
          "sums_of_squares: expected dense f32 tensors on {}, got {} {} on {}", tensors.front().device(), t.dtype(),
          t.shape(), t.device());
  if (tensors.front().device().is_cpu()) return sums_on_cpu(tensors);
  std::vector<Tensor> sums;
  for (const Tensor& t : tensors) sums.push_back(sum(mul(t, t)).reshape({1}));
  return concat(sums).to(Device{}).to_vector<float>();
}

}  // namespace usol::train
