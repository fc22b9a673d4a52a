#include "usol/models/rcnn/matcher.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "usol/autograd/grad_mode.h"
#include "usol/ops/cast.h"
#include "usol/ops/compare.h"
#include "usol/ops/pairwise_iou.h"
#include "usol/ops/reduce.h"
#include "usol/ops/topk.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::rcnn {
namespace {

constexpr std::int64_t kBlock = 1024;  // boxes whose overlaps are looked at together
constexpr float kMostPixels = 1e9F;    // areas of such boxes are finite, so that no overlap is NaN

// The truths that some box of a block may overlap, rising, and the overlaps [truths, boxes of the block].
struct Block {
  std::vector<std::int64_t> truths;
  Tensor iou;
};

bool moderate(const Tensor& boxes) {
  const float* sides = boxes.data<float>();
  return std::all_of(sides, sides + boxes.numel(), [](float side) { return std::abs(side) < kMostPixels; });
}

Block overlaps(const Tensor& truths, const Tensor& boxes) {
  const float* sides = boxes.data<float>();
  float x0 = kMostPixels, y0 = kMostPixels, x1 = -kMostPixels, y1 = -kMostPixels;
  for (const float* b = sides; b != sides + boxes.numel(); b += 4) {
    x0 = std::min(x0, b[0]);
    y0 = std::min(y0, b[1]);
    x1 = std::max(x1, b[2]);
    y1 = std::max(y1, b[3]);
  }
  Block block;
  std::vector<float> near;
  const float* t = truths.data<float>();
  for (std::int64_t g = 0; g < truths.size(0); ++g, t += 4) {
    if (t[0] >= x1 || t[2] <= x0 || t[1] >= y1 || t[3] <= y0) continue;
    block.truths.push_back(g);
    near.insert(near.end(), t, t + 4);
  }
  block.iou = pairwise_iou(Tensor::from(near, {static_cast<std::int64_t>(block.truths.size()), 4}), boxes);
  return block;
}

// match(pairwise_iou(truths, boxes)) of moderate boxes f32 on the CPU.
Matches match_blocks(const Tensor& truths, const Tensor& boxes, const MatcherOptions& options) {
  const std::int64_t n = boxes.size(0), count = (n + kBlock - 1) / kBlock;
  const auto low = static_cast<float>(options.low), high = static_cast<float>(options.high);
  Matches matches{Tensor::zeros({n}, DType::kI64), Tensor::empty({n}, DType::kI64)};
  std::int64_t *truth = matches.truth.mutable_data<std::int64_t>(), *label = matches.label.mutable_data<std::int64_t>();
  std::vector<Block> blocks(static_cast<std::size_t>(count));
  std::vector<std::vector<float>> most(static_cast<std::size_t>(count));  // of each of a block's truths
  parallel_for(0, count, 1, [&](std::int64_t first, std::int64_t end) {
    const NoGrad no_grad;
    for (std::int64_t b = first; b < end; ++b) {
      const std::int64_t begin = b * kBlock, size = std::min(kBlock, n - begin);
      Block& block = blocks[static_cast<std::size_t>(b)];
      block = overlaps(truths, boxes.slice(0, begin, begin + size));
      std::vector<float> best(static_cast<std::size_t>(size), 0.0F);
      const float* iou = block.iou.data<float>();
      for (const std::int64_t g : block.truths) {
        float of_truth = 0;
        for (std::int64_t i = 0; i < size; ++i, ++iou) {
          of_truth = std::max(of_truth, *iou);
          if (*iou <= best[static_cast<std::size_t>(i)]) continue;
          best[static_cast<std::size_t>(i)] = *iou;
          truth[begin + i] = g;
        }
        most[static_cast<std::size_t>(b)].push_back(of_truth);
      }
      for (std::int64_t i = 0; i < size; ++i) {
        const float value = best[static_cast<std::size_t>(i)];
        label[begin + i] = value >= high ? kPositive : value < low ? kNegative : kIgnored;
      }
      if (!options.low_quality) block.iou = Tensor();
    }
  });
  if (!options.low_quality) return matches;

  std::vector<float> top(static_cast<std::size_t>(truths.size(0)), 0.0F);
  for (std::size_t b = 0; b < blocks.size(); ++b)
    for (std::size_t i = 0; i < blocks[b].truths.size(); ++i) {
      float& of_truth = top[static_cast<std::size_t>(blocks[b].truths[i])];
      of_truth = std::max(of_truth, most[b][i]);
    }
  // A truth that nothing overlaps is overlapped most by all boxes.
  if (std::any_of(top.begin(), top.end(), [](float value) { return value == 0; })) {
    std::fill_n(label, n, kPositive);
    return matches;
  }
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const Block& block = blocks[b];
    const std::int64_t size = block.iou.size(1);
    std::int64_t* of_block = label + static_cast<std::int64_t>(b) * kBlock;
    for (std::size_t i = 0; i < block.truths.size(); ++i) {
      const float value = top[static_cast<std::size_t>(block.truths[i])];
      if (most[b][i] != value) continue;
      const float* iou = block.iou.data<float>() + static_cast<std::int64_t>(i) * size;
      for (std::int64_t j = 0; j < size; ++j)
        if (iou[j] == value) of_block[j] = kPositive;
    }
  }
  return matches;
}

}  // namespace

Matches match(const Tensor& iou, const MatcherOptions& options) {
  check(iou.rank() == 2, "matcher: expected overlaps [G, N], got {}", iou.shape());
  const std::int64_t boxes = iou.size(1);
  const Device device = iou.device();
  if (iou.numel() == 0)
    return {Tensor::zeros({boxes}, DType::kI64, device), Tensor::full({boxes}, kNegative, DType::kI64, device)};
  const auto label = [&](std::int64_t value) {
    return Tensor::full({}, static_cast<double>(value), DType::kI64, device);
  };
  const Tensor best = amax(iou, {0});
  Tensor labels = where(less(best, options.low), label(kNegative), label(kIgnored));
  labels = where(greater_equal(best, options.high), label(kPositive), labels);
  if (options.low_quality) {
    const Tensor top = equal(iou, amax(iou, {1}, true));
    const Tensor any = greater(amax(cast(top, DType::kF32), {0}), 0);
    labels = where(any, label(kPositive), labels);
  }
  return {argmax(iou, 0), labels};
}

Matches match_boxes(const Tensor& truths, const Tensor& boxes, const MatcherOptions& options) {
  const Tensor from = truths.detach().contiguous(), to = boxes.detach().contiguous();
  const bool of_blocks = from.is_cpu() && to.is_cpu() && from.dtype() == DType::kF32 && to.dtype() == DType::kF32 &&
                         from.rank() == 2 && to.rank() == 2 && from.size(0) > 0 && to.size(0) > 0 &&
                         from.size(1) == 4 && to.size(1) == 4;
  if (of_blocks && moderate(from) && moderate(to)) return match_blocks(from, to, options);
  return match(pairwise_iou(truths, boxes), options);
}

}  // namespace usol::rcnn
