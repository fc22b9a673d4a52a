#include "usol/maskcut/contrast_features.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "usol/maskcut/border_contrast.h"
#include "usol/maskcut/colour_features.h"
#include "usol/maskcut/components.h"

namespace usol::maskcut {
namespace {

static_assert(kContrastFeatureDim == kColourFeatureDim + 2);

constexpr double kSides = 0.7;                 // weight of the sides in the cosine; the rest is colour's
constexpr double kAngle = 2;                   // between background and object
constexpr double kSecond = 0.5, kLater = 0.6;  // less of it for the objects after the first
constexpr double kSoftness = 0.05;  // of contrast, from the threshold to where a place is clearly on one side
constexpr double kMixture = 0.2;    // of members, from half of a patch to where it is clearly on one side

// From 0 to 1, through a half at 0.
double step(double x) { return (1 + std::tanh(x)) / 2; }

// The mask without what a cross of five pixels does not fit into. Outside the picture the mask goes on.
Tensor opened(const Tensor& mask) {
  const std::int64_t height = mask.size(0), width = mask.size(1);
  const std::uint8_t* in = mask.data<std::uint8_t>();
  Tensor result = Tensor::zeros(mask.shape(), DType::kU8);
  std::uint8_t* out = result.mutable_data<std::uint8_t>();
  constexpr std::int64_t kCross[5][2] = {{0, 0}, {-1, 0}, {1, 0}, {0, -1}, {0, 1}};
  const auto inside = [&](std::int64_t y, std::int64_t x) { return y >= 0 && y < height && x >= 0 && x < width; };
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      const bool fits = std::all_of(std::begin(kCross), std::end(kCross), [&](const std::int64_t(&d)[2]) {
        return !inside(y + d[0], x + d[1]) || in[(y + d[0]) * width + x + d[1]] != 0;
      });
      if (!fits) continue;
      for (const std::int64_t(&d)[2] : kCross)
        if (inside(y + d[0], x + d[1])) out[(y + d[0]) * width + x + d[1]] = 1;
    }
  return result;
}

// For each component its place among all by the sum of contrast, from 1; rank[0] is 0.
std::vector<std::int32_t> ranks(const Components& components, const double* contrast) {
  std::vector<double> sums(static_cast<std::size_t>(components.count) + 1);
  const std::int32_t* labels = components.labels.data<std::int32_t>();
  for (std::int64_t i = 0; i < components.labels.numel(); ++i) sums[static_cast<std::size_t>(labels[i])] += contrast[i];
  std::vector<std::size_t> order(static_cast<std::size_t>(components.count));
  std::iota(order.begin(), order.end(), std::size_t{1});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return sums[a] > sums[b]; });
  std::vector<std::int32_t> rank(sums.size());
  for (std::size_t i = 0; i < order.size(); ++i) rank[order[i]] = static_cast<std::int32_t>(i + 1);
  return rank;
}

// How surely each pixel is of an object, 0 to 1.
std::vector<double> memberships(const ContrastObjects& objects) {
  const double* contrast = objects.contrast.data<double>();
  const std::int32_t* labels = objects.labels.data<std::int32_t>();
  std::vector<double> member(static_cast<std::size_t>(objects.contrast.numel()));
  for (std::size_t i = 0; i < member.size(); ++i) {
    double above = contrast[i] - objects.threshold;
    if (labels[i] == 0) above = -std::abs(above);  // also what the opening took
    member[i] = step(above / kSoftness);
  }
  return member;
}

// By how much the angle of each pixel falls short because it is not of the first object.
std::vector<double> rank_angles(const ContrastObjects& objects) {
  std::vector<double> angle;
  for (const std::int32_t label : objects.labels.to_vector<std::int32_t>())
    angle.push_back(label <= 1 ? 0 : label == 2 ? kSecond : kLater);
  return angle;
}

// Overlap of [from, to) with pixel i.
double share(double from, double to, std::int64_t i) {
  return std::max(0.0, std::min(to, static_cast<double>(i + 1)) - std::max(from, static_cast<double>(i)));
}

// Means over the patches of a grid that covers the map, pixels counting by the part of them that lies in a patch.
std::vector<double> on_grid(const std::vector<double>& map, const Size& size, const Size& grid) {
  std::vector<double> means;
  means.reserve(static_cast<std::size_t>(grid.height * grid.width));
  const auto edge = [](std::int64_t k, std::int64_t pixels, std::int64_t patches) {
    return static_cast<double>(k * pixels) / static_cast<double>(patches);
  };
  for (std::int64_t gy = 0; gy < grid.height; ++gy)
    for (std::int64_t gx = 0; gx < grid.width; ++gx) {
      const double top = edge(gy, size.height, grid.height), bottom = edge(gy + 1, size.height, grid.height);
      const double left = edge(gx, size.width, grid.width), right = edge(gx + 1, size.width, grid.width);
      double sum = 0, area = 0;
      for (auto y = static_cast<std::int64_t>(top); static_cast<double>(y) < bottom; ++y)
        for (auto x = static_cast<std::int64_t>(left); static_cast<double>(x) < right; ++x) {
          const double part = share(top, bottom, y) * share(left, right, x);
          sum += part * map[static_cast<std::size_t>(y * size.width + x)];
          area += part;
        }
      means.push_back(sum / area);
    }
  return means;
}

}  // namespace

ContrastObjects contrast_objects(const Tensor& image) {
  ContrastObjects objects;
  objects.contrast = border_contrast(image);
  objects.threshold = otsu_threshold(objects.contrast);
  const double* contrast = objects.contrast.data<double>();
  Tensor mask = Tensor::empty(objects.contrast.shape(), DType::kU8);
  std::uint8_t* above = mask.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < mask.numel(); ++i) above[i] = contrast[i] > objects.threshold;
  const Tensor open = opened(mask);
  Components components = label_components(mask_area(open) > 0 ? open : mask);
  const std::vector<std::int32_t> rank = ranks(components, contrast);
  std::int32_t* labels = components.labels.mutable_data<std::int32_t>();
  for (std::int64_t i = 0; i < components.labels.numel(); ++i) labels[i] = rank[static_cast<std::size_t>(labels[i])];
  objects.labels = components.labels;
  objects.count = components.count;
  return objects;
}

Tensor contrast_features(const Tensor& image, const Size& frame, std::int64_t patch) {
  const Tensor colour = colour_features(image, frame, patch);
  const std::int64_t height = colour.size(1), width = colour.size(2), n = height * width;
  Tensor features = Tensor::zeros({kContrastFeatureDim, height, width});
  const float* in = colour.data<float>();
  if (std::all_of(in, in + colour.numel(), [](float v) { return v == 0; })) return features;
  const ContrastObjects objects = contrast_objects(image);
  const Size size{objects.contrast.size(0), objects.contrast.size(1)}, grid{height, width};
  const std::vector<double> member = on_grid(memberships(objects), size, grid);
  const std::vector<double> rank = on_grid(rank_angles(objects), size, grid);
  float* out = features.mutable_data<float>();
  for (std::int64_t i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const double angle = std::max(0.0, kAngle * step((member[at] - 0.5) / kMixture) - rank[at]);
    out[i] = static_cast<float>(std::sqrt(kSides) * std::cos(angle));
    out[n + i] = static_cast<float>(std::sqrt(kSides) * std::sin(angle));
  }
  // Each pair of a cosine and a sine has length one.
  const auto weight = static_cast<float>(std::sqrt((1 - kSides) / static_cast<double>(kColourFeatureDim / 2)));
  for (std::int64_t i = 0; i < colour.numel(); ++i) out[2 * n + i] = weight * in[i];
  return features;
}

}  // namespace usol::maskcut
