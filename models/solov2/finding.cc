#include "usol/models/solov2/finding.h"

#include <algorithm>
#include <utility>

#include "usol/autograd/grad_mode.h"
#include "usol/models/solov2/losses.h"
#include "usol/ops/compare.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/matmul.h"
#include "usol/ops/matrix_nms.h"
#include "usol/ops/pool2d.h"
#include "usol/ops/reduce.h"
#include "usol/ops/topk.h"
#include "usol/tensor/check.h"

namespace usol::solov2 {
namespace {

constexpr std::int64_t kCellPx = 4;      // pixels of a cell of the mask features
constexpr std::int64_t kTogether = 500;  // masks that are made at once

// Masks that may be objects: one a row.
struct Candidates {
  Tensor kernels;  // [R, C]
  Tensor scores;   // [R]
  Tensor classes;  // i64 [R]
  Tensor least;    // f32 [R]: a mask needs more cells

  std::int64_t size() const { return scores.size(0); }
  Candidates at(const Tensor& rows) const {
    return {index_select(kernels, rows), index_select(scores, rows), index_select(classes, rows),
            index_select(least, rows)};
  }
};

// The picture's cells and classes that score enough, level by level, in the order of cells, then of classes.
Candidates candidates(const std::vector<Cells>& cells, std::int64_t index, const Config& config) {
  const Device device = cells[0].categories.device();
  std::vector<Tensor> kernels, scores;
  std::vector<std::int64_t> classes;
  std::vector<float> least;
  for (std::size_t l = 0; l < cells.size(); ++l) {
    const auto of_picture = [&](const Tensor& map) { return map.slice(0, index, index + 1); };
    const Tensor probabilities = point_nms(sigmoid(of_picture(cells[l].categories).to(DType::kF32)));
    const Tensor rows = cell_rows(probabilities).slice(1, 0, config.classes).contiguous();  // [S S, classes]
    const Tensor chosen = nonzero(greater(rows, config.finding.category_score).reshape({rows.numel()}));
    if (chosen.numel() == 0) continue;
    std::vector<std::int64_t> of_cells;
    for (const std::int64_t place : chosen.to_vector<std::int64_t>()) {
      of_cells.push_back(place / config.classes);
      classes.push_back(place % config.classes);
      least.push_back(static_cast<float>(config.levels[l].least_mask));
    }
    scores.push_back(index_select(rows.reshape({rows.numel()}), chosen));
    kernels.push_back(
        index_select(cell_rows(of_picture(cells[l].kernels)), Tensor::from(of_cells, {chosen.numel()}).to(device)));
  }
  if (scores.empty()) return {Tensor(), Tensor::zeros({0}, DType::kF32, device), Tensor(), Tensor()};
  const auto n = static_cast<std::int64_t>(classes.size());
  return {concat(kernels), concat(scores), Tensor::from(classes, {n}).to(device), Tensor::from(least, {n}).to(device)};
}

// [R, h w] f32, probabilities. `pixels`: the mask features of one picture, [C, h w].
Tensor soft_masks(const Tensor& kernels, const Tensor& pixels) {
  return sigmoid(matmul(kernels.to(pixels.dtype()), pixels).to(DType::kF32));
}

// Leaves candidates whose masks are large enough, their scores times the mean probability inside the mask.
Candidates with_maskness(const Candidates& all, const Tensor& pixels, const Config& config) {
  std::vector<Tensor> rows, scores;
  for (std::int64_t first = 0; first < all.size(); first += kTogether) {
    const std::int64_t end = std::min(first + kTogether, all.size());
    const Tensor soft = soft_masks(all.kernels.slice(0, first, end), pixels);
    const Tensor inside = greater(soft, config.finding.mask).to(DType::kF32);
    const Tensor area = sum(inside, {1});
    const Tensor kept = nonzero(greater(area, all.least.slice(0, first, end)));
    const Tensor maskness = div(sum(mul(soft, inside), {1}), area);
    scores.push_back(index_select(mul(all.scores.slice(0, first, end), maskness), kept));
    rows.push_back(add(kept.to(DType::kF64), Tensor::full({1}, static_cast<double>(first), DType::kF64, kept.device()))
                       .to(DType::kI64));
  }
  Candidates left = all.at(concat(rows));
  left.scores = concat(scores);
  return left;
}

// The best of them, by falling score.
Candidates best(const Candidates& all, std::int64_t most) {
  return all.at(topk(all.scores, std::min(most, all.size())).indices);
}

// Boxes [D, 4] around what is above `threshold` in masks [D, h, w], in pixels.
Tensor boxes_around(const Tensor& masks, double threshold) {
  const std::int64_t n = masks.size(0);
  const auto extents = [&](int over) {
    const Tensor line = amax(masks, {over});  // [D, h] or [D, w]
    const std::vector<float> values = line.contiguous().to_vector<float>();
    std::vector<std::pair<std::int64_t, std::int64_t>> out;
    for (std::int64_t i = 0; i < n; ++i) {
      const float* row = values.data() + i * line.size(1);
      std::int64_t first = 0, end = 0;
      for (std::int64_t k = 0; k < line.size(1); ++k) {
        if (static_cast<double>(row[k]) <= threshold) continue;
        if (end == 0) first = k;
        end = k + 1;
      }
      out.emplace_back(first, end);
    }
    return out;
  };
  const auto columns = extents(1), rows = extents(2);
  std::vector<float> boxes;
  for (std::size_t i = 0; i < columns.size(); ++i)
    for (const std::int64_t side : {columns[i].first, rows[i].first, columns[i].second, rows[i].second})
      boxes.push_back(static_cast<float>(side * kCellPx));
  return Tensor::from(boxes, {n, 4}).to(masks.device());
}

}  // namespace

Tensor point_nms(const Tensor& probabilities) {
  const std::int64_t s = probabilities.size(2);
  const Tensor largest = max_pool2d(probabilities, {.kernel = {2, 2}, .stride = {1, 1}, .padding = {1, 1}})
                             .slice(2, 0, s)
                             .slice(3, 0, probabilities.size(3));
  return masked_fill(probabilities, not_equal(largest, probabilities), 0);
}

detection::Detections find_objects(const std::vector<Cells>& cells, const Tensor& features, std::int64_t index,
                                   const Size& picture, const Config& config, const detection::DetectOptions& options) {
  const NoGrad no_grad;
  const FindingOptions& finding = config.finding;
  const std::int64_t h = features.size(2), w = features.size(3);
  const detection::MaskFrame frame{kCellPx, picture};
  const auto nothing = [&] {
    const Device device = features.device();
    return detection::Detections{Tensor::zeros({0, 4}, DType::kF32, device), Tensor::zeros({0}, DType::kF32, device),
                                 Tensor::zeros({0}, DType::kI64, device), Tensor::zeros({0, h, w}, DType::kF32, device),
                                 frame};
  };
  // Channels lie last in memory.
  const Tensor pixels = features.select(0, index).permute({1, 2, 0}).reshape({h * w, features.size(1)}).transpose(0, 1);
  Candidates left = candidates(cells, index, config);
  if (left.size() == 0) return nothing();
  left = with_maskness(left, pixels, config);
  if (left.size() == 0) return nothing();
  left = best(left, finding.most_before);
  Tensor soft = soft_masks(left.kernels, pixels);
  left.scores = matrix_nms(pairwise_mask_iou(greater(soft, finding.mask)), left.scores, left.classes, finding.sigma);
  const Tensor rows =
      nonzero(logical_and(greater_equal(left.scores, finding.least_score), greater(left.scores, options.score)));
  if (rows.numel() == 0) return nothing();
  const Tensor order = topk(index_select(left.scores, rows), std::min(options.most, rows.numel())).indices;
  const Tensor kept = index_select(rows, order);
  const Tensor masks = index_select(soft, kept).reshape({kept.numel(), h, w});
  return {boxes_around(masks, finding.mask), index_select(left.scores, kept), index_select(left.classes, kept), masks,
          frame};
}

}  // namespace usol::solov2
