#include "usol/maskcut/baselines/freemask.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

#include "usol/maskcut/discoverer.h"
#include "usol/ops/concat.h"
#include "usol/ops/interpolate.h"
#include "usol/ops/matmul.h"
#include "usol/ops/matrix_nms.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

constexpr std::int64_t kMostCells = 5000;  // with the usual scales 6,600 queries and 1.5 GB, most for pairs of masks
constexpr std::int64_t kEmbedding = 128;
constexpr std::int64_t kLeastCells = 2;  // of a mask

void check_map(const Tensor& features) {
  check(features.defined() && features.is_cpu() && features.dtype() == DType::kF32 && features.rank() == 3 &&
            features.numel() > 0,
        "freemask: expected f32 [C, h, w] on the CPU, got {} {}",
        features.defined() ? to_string(features.dtype()) : "no tensor",
        features.defined() ? to_string(features.shape()) : "");
  const std::int64_t cells = features.size(1) * features.size(2);
  check(cells <= kMostCells, ErrorKind::kUnsupported,
        "freemask: {} x {} cells are more than {}; take a coarser layer, or make pictures smaller", features.size(1),
        features.size(2), kMostCells);
  const Tensor dense = features.contiguous();
  const float* value = dense.data<float>();
  for (std::int64_t i = 0; i < dense.numel(); ++i)
    check(std::isfinite(value[i]), "freemask: value {} of the features is not finite", i);
}

// A map [1, C, h, w] as rows [h w, C] of length 1; zeros stay zeros.
Tensor unit_rows(const Tensor& map) {
  const std::int64_t channels = map.size(1), cells = map.size(2) * map.size(3);
  Tensor rows = Tensor::empty({cells, channels});
  rows.copy_from(map.reshape({channels, cells}).transpose(0, 1));
  float* row = rows.mutable_data<float>();
  for (std::int64_t i = 0; i < cells; ++i, row += channels) {
    double squares = 0;
    for (std::int64_t c = 0; c < channels; ++c) squares += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    const auto length = static_cast<float>(std::sqrt(squares));
    if (length == 0) continue;
    for (std::int64_t c = 0; c < channels; ++c) row[c] /= length;
  }
  return rows;
}

// Each row's smallest number becomes 0 and its largest 1.
void stretch_rows(Tensor& cosines) {
  const std::int64_t cells = cosines.size(1);
  float* row = cosines.mutable_data<float>();
  for (std::int64_t q = 0; q < cosines.size(0); ++q, row += cells) {
    const auto [low, high] = std::minmax_element(row, row + cells);
    const float least = *low, range = *high - *low;
    for (std::int64_t i = 0; i < cells; ++i) row[i] = range > 0 ? (row[i] - least) / range : 0;
  }
}

// Positions in the order of falling scores, equal ones as they came.
std::vector<std::int64_t> falling(const std::vector<float>& scores) {
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  return order;
}

// The places along one axis that a mask touches.
struct Extent {
  std::int64_t count = 0;
  double mean = 0;
};

Extent extent_of(const std::vector<std::uint8_t>& touched) {
  Extent extent;
  double sum = 0;
  for (std::size_t i = 0; i < touched.size(); ++i) {
    if (touched[i] == 0) continue;
    ++extent.count;
    sum += static_cast<double>(i);
  }
  if (extent.count > 0) extent.mean = sum / static_cast<double>(extent.count);
  return extent;
}

struct Extents {
  Extent rows, columns;
};

Extents extents_of(const Tensor& mask) {
  const std::int64_t height = mask.size(0), width = mask.size(1);
  std::vector<std::uint8_t> rows(static_cast<std::size_t>(height)), columns(static_cast<std::size_t>(width));
  const std::uint8_t* m = mask.data<std::uint8_t>();
  for (std::uint8_t& row : rows)
    for (std::uint8_t& column : columns) {
      row |= *m;
      column |= *m++;
    }
  return {extent_of(rows), extent_of(columns)};
}

}  // namespace

FreeMaskQueries free_mask_queries(const Tensor& features, const std::vector<double>& scales) {
  check_map(features);
  const std::int64_t height = features.size(1), width = features.size(2);
  const Tensor map = features.contiguous().reshape({1, features.size(0), height, width});
  std::vector<Tensor> vectors;
  for (const double scale : scales) {
    check(scale > 0 && scale <= 1, ErrorKind::kUsage, "freemask: expected scales above 0 and at most 1, got {}", scale);
    const auto h = static_cast<std::int64_t>(std::floor(static_cast<double>(height) * scale)),
               w = static_cast<std::int64_t>(std::floor(static_cast<double>(width) * scale));
    if (h == 0 || w == 0) continue;
    vectors.push_back(unit_rows(scale == 1 ? map : interpolate(map, h, w, {.scale_h = scale, .scale_w = scale})));
  }
  check(!vectors.empty(), ErrorKind::kUsage, "freemask: no scale leaves a cell of {} x {}", height, width);
  FreeMaskQueries queries{concat(vectors, 0), {}};
  Tensor cosines = matmul(queries.vectors, unit_rows(map).transpose(0, 1));
  stretch_rows(cosines);
  queries.soft = cosines.reshape({cosines.size(0), height, width});
  return queries;
}

std::vector<FreeMaskCandidate> free_mask_candidates(const FreeMaskQueries& queries, const FreeMaskOptions& options) {
  const std::int64_t cells = queries.soft.size(1) * queries.soft.size(2);
  const float* soft = queries.soft.data<float>();
  const auto threshold = static_cast<float>(options.threshold);
  std::vector<std::int64_t> numbers;
  std::vector<float> maskness;
  for (std::int64_t q = 0; q < queries.soft.size(0); ++q) {
    std::int64_t area = 0;
    double sum = 0;
    for (std::int64_t i = 0; i < cells; ++i) {
      const float value = soft[q * cells + i];
      if (value < threshold) continue;
      ++area;
      sum += static_cast<double>(value);
    }
    if (area < kLeastCells) continue;
    numbers.push_back(q);
    maskness.push_back(static_cast<float>(sum / static_cast<double>(area)));
  }
  if (numbers.empty()) return {};
  const auto n = static_cast<std::int64_t>(numbers.size());
  Tensor masks = Tensor::empty({n, cells}, DType::kU8);
  std::uint8_t* m = masks.mutable_data<std::uint8_t>();
  std::vector<float> sorted;
  const std::vector<std::int64_t> order = falling(maskness);
  for (const std::int64_t i : order) {
    const float* values = soft + numbers[static_cast<std::size_t>(i)] * cells;
    for (std::int64_t c = 0; c < cells; ++c) *m++ = values[c] >= threshold;
    sorted.push_back(maskness[static_cast<std::size_t>(i)]);
  }
  const std::vector<float> decayed =
      matrix_nms(pairwise_mask_iou(masks), Tensor::from(sorted, {n}), Tensor::zeros({n}, DType::kI64), options.sigma)
          .to_vector<float>();
  std::vector<FreeMaskCandidate> best;
  for (const std::int64_t i : falling(decayed)) {
    if (static_cast<std::int64_t>(best.size()) == options.most) break;
    const auto at = static_cast<std::size_t>(order[static_cast<std::size_t>(i)]);
    best.push_back({numbers[at], static_cast<double>(decayed[static_cast<std::size_t>(i)])});
  }
  return best;
}

FreeMasks free_masks(const Tensor& features, const Size& picture, const FreeMaskOptions& options) {
  const FreeMaskQueries queries = free_mask_queries(features, options.scales);
  const auto height = static_cast<double>(picture.height), width = static_cast<double>(picture.width);
  FreeMasks found{{}, Tensor::zeros({picture.height, picture.width})};
  float* most = found.soft.mutable_data<float>();
  for (const FreeMaskCandidate& candidate : free_mask_candidates(queries, options)) {
    if (candidate.maskness < options.least_maskness) continue;
    const Tensor small = queries.soft.select(0, candidate.query);
    const Tensor soft =
        interpolate(small.reshape({1, 1, small.size(0), small.size(1)}), picture.height, picture.width).contiguous();
    const float* values = soft.data<float>();
    FreeMask mask{Tensor::empty({picture.height, picture.width}, DType::kU8), candidate.maskness, {}, {}};
    std::uint8_t* m = mask.mask.mutable_data<std::uint8_t>();
    for (std::int64_t i = 0; i < soft.numel(); ++i) m[i] = values[i] >= static_cast<float>(options.threshold);
    const auto [rows, columns] = extents_of(mask.mask);
    if (rows.count == 0 || (options.top_share > 0 && rows.mean <= options.top_share * height) ||
        static_cast<double>(columns.count) >= options.widest_share * width)
      continue;
    const double half_width = static_cast<double>(columns.count) / 2, half_height = static_cast<double>(rows.count) / 2;
    mask.corners = {columns.mean - half_width, rows.mean - half_height, columns.mean + half_width,
                    rows.mean + half_height};
    mask.embedding = free_mask_embedding(queries.vectors.select(0, candidate.query));
    for (std::int64_t i = 0; i < soft.numel(); ++i) most[i] = std::max(most[i], values[i]);
    found.masks.push_back(std::move(mask));
  }
  return found;
}

std::vector<float> free_mask_embedding(const Tensor& vector) {
  check(vector.rank() == 1 && vector.dtype() == DType::kF32 && vector.numel() > 0,
        "freemask: expected a vector f32 [C], got {} {}", vector.dtype(), vector.shape());
  return interpolate(vector.contiguous().reshape({1, 1, 1, vector.numel()}), 1, kEmbedding).to_vector<float>();
}

namespace {

class FreeMaskMethod : public Discoverer {
 public:
  void declare(Settings& settings) override {
    settings
        .add("short-side PX", sides_.px,
             "Pictures are resized (bilinear) until their short side has so many pixels, where no size is given")
        .between(8, 16384);
    settings.add("long-side PX", sides_.most_px, "... but the long one no more than this").between(8, 16384);
    settings
        .add("scales S,...", options_.scales, "Of the maps that the queries are taken from, as shares of their sides")
        .between(0.01, 1);
    settings.add("soft-threshold NUMBER", options_.threshold, "Soft masks are cut from here on").between(0.01, 1);
    settings.add("nms-sigma NUMBER", options_.sigma, "How fast overlapping masks lose score (matrix NMS)").at_least(0);
    settings.add("most-masks N", options_.most, "Masks of a picture that stay after the NMS").between(1, 1000);
    settings.add("least-maskness NUMBER", options_.least_maskness, "... and have at least this score").between(0, 1);
    settings
        .add("top-share SHARE", options_.top_share,
             "Masks centred in this share of the picture's height, from its top, are dropped; 0: none")
        .between(0, 1);
    settings
        .add("widest-share SHARE", options_.widest_share,
             "Masks as wide as this share of the picture's width, or wider, are dropped; above 1: none")
        .between(0, 2);
    settings.flag("embeddings", embeddings_,
                  "Each object also has 128 numbers of its query, \"emb\", that a detector may learn to predict");
  }
  void check(const DiscoverOptions&) const override {
    usol::check(sides_.px <= sides_.most_px, ErrorKind::kUsage, "short-side {}: longer than long-side {}", sides_.px,
                sides_.most_px);
  }
  Framing framing() const override { return Framing::kShortSide; }
  ShortSide short_side() const override { return sides_; }
  std::int64_t most_patches() const override { return kMostCells; }
  bool gives_maps() const override { return true; }

  DiscoveredObjects find(const DiscoverScene& scene) const override {
    const Size map{scene.maps.features.size(1), scene.maps.features.size(2)};
    // The network may have rounded sides up, or the picture to whole patches.
    const auto fits = [&](std::int64_t cells, std::int64_t pixels) {
      return std::abs(cells * scene.patch - pixels) < scene.patch;
    };
    usol::check(fits(map.height, scene.pixels.height) && fits(map.width, scene.pixels.width),
                "freemask: {} x {} patches of {} pixels are not the {} x {} pixels that the picture is resized to "
                "(features from another program's files need their patch)",
                map.height, map.width, scene.patch, scene.pixels.height, scene.pixels.width);
    FreeMasks masks = free_masks(scene.maps.features, {scene.image.size(0), scene.image.size(1)}, options_);
    DiscoveredObjects found;
    found.soft = masks.soft.to(DType::kF64);
    for (FreeMask& mask : masks.masks) {
      found.add(std::move(mask.mask), mask.maskness);
      DiscoveredObject& object = found.objects.back();
      if (embeddings_) object.embedding = std::move(mask.embedding);
      // The release writes corners where readers expect a corner and a size, and reads them so, too.
      if (scene.options.preset == Preset::kRelease) object.box = mask.corners;
    }
    return found;
  }

 private:
  FreeMaskOptions options_;
  ShortSide sides_;
  bool embeddings_ = false;
};
const RegisterDiscoverer<FreeMaskMethod> kFreeMask(
    "freemask", "FreeSOLO's free masks, of a convolutional network: cells that resemble one, at three scales");

}  // namespace

}  // namespace usol::maskcut
