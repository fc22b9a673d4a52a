#include "usol/maskcut/colour_features.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

#include "usol/io/resize.h"
#include "usol/maskcut/lab.h"
#include "usol/tensor/check.h"
#include "usol/tensor/generator.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

constexpr int kColours = 3, kTextures = 5, kDescriptors = kColours + kTextures + 2;
constexpr double kTextureWeight = 0.3;
// Least standard deviations, in units of L*a*b* and of the logarithms: less is noise that must not fill the scale.
constexpr double kColourFloor = 2, kTextureFloor = 0.1;
// Share of the pairs that the cosine puts above kSimilar.
constexpr double kConnected = 0.4, kSimilar = 0.15;

using Descriptor = std::array<float, kDescriptors>;

// Mean colour and raw texture of the patch whose first pixel is (top, left).
Descriptor describe(const std::vector<float>& planes, std::int64_t rows, std::int64_t columns, std::int64_t top,
                    std::int64_t left, std::int64_t patch) {
  std::array<double, 3> sum{}, squares{};
  double across = 0, down = 0;
  for (std::int64_t y = top; y < top + patch; ++y)
    for (std::int64_t x = left; x < left + patch; ++x) {
      for (std::size_t c = 0; c < 3; ++c) {
        const double v =
            planes[c * static_cast<std::size_t>(rows * columns) + static_cast<std::size_t>(y * columns + x)];
        sum[c] += v;
        squares[c] += v * v;
      }
      const auto lightness = [&](std::int64_t py, std::int64_t px) {
        return static_cast<double>(planes[static_cast<std::size_t>(std::clamp<std::int64_t>(py, 0, rows - 1) * columns +
                                                                   std::clamp<std::int64_t>(px, 0, columns - 1))]);
      };
      const double gx = (lightness(y, x + 1) - lightness(y, x - 1)) / 2;
      const double gy = (lightness(y + 1, x) - lightness(y - 1, x)) / 2;
      across += gx * gx;
      down += gy * gy;
    }
  const double count = static_cast<double>(patch * patch);
  Descriptor d{};
  for (std::size_t c = 0; c < 3; ++c) {
    const double mean = sum[c] / count;
    d[c] = static_cast<float>(mean);
    d[kColours + c] = static_cast<float>(std::log1p(std::sqrt(std::max(0.0, squares[c] / count - mean * mean))));
  }
  d[kColours + 3] = static_cast<float>(std::log1p(std::sqrt(across / count)));
  d[kColours + 4] = static_cast<float>(std::log1p(std::sqrt(down / count)));
  return d;
}

// Centres descriptors [first, last) and divides all by one number, so that the sum of their variances is weight^2.
// Returns that sum as it was.
double standardize(std::vector<Descriptor>& patches, int first, int last, double weight, double floor) {
  double total = 0;
  const double n = static_cast<double>(patches.size());
  for (auto k = static_cast<std::size_t>(first); k < static_cast<std::size_t>(last); ++k) {
    double mean = 0;
    for (const Descriptor& d : patches) mean += d[k];
    mean /= n;
    for (Descriptor& d : patches) {
      d[k] -= static_cast<float>(mean);
      total += static_cast<double>(d[k]) * d[k] / n;
    }
  }
  const float scale = static_cast<float>(weight / std::max(std::sqrt(total), floor));
  for (Descriptor& d : patches)
    for (auto k = static_cast<std::size_t>(first); k < static_cast<std::size_t>(last); ++k) d[k] *= scale;
  return total;
}

// The kConnected quantile of the distances between patches, from at most 600 evenly spread ones.
double typical_distance(const std::vector<Descriptor>& patches) {
  const std::size_t step = patches.size() / 600 + 1;
  std::vector<float> squares;
  for (std::size_t i = 0; i < patches.size(); i += step)
    for (std::size_t j = 0; j < patches.size(); j += step) {
      float square = 0;
      for (std::size_t k = 0; k < kDescriptors; ++k)
        square += (patches[i][k] - patches[j][k]) * (patches[i][k] - patches[j][k]);
      squares.push_back(square);
    }
  const auto nth = squares.begin() + static_cast<std::ptrdiff_t>(kConnected * static_cast<double>(squares.size() - 1));
  std::nth_element(squares.begin(), nth, squares.end());
  return std::sqrt(static_cast<double>(*nth));
}

}  // namespace

Tensor colour_features(const Tensor& image, const Size& frame, std::int64_t patch) {
  check(image.defined() && image.rank() == 3 && image.dtype() == DType::kU8 && image.size(2) == 3 && image.numel() > 0,
        "colour_features: expected a u8 image [H, W, 3], got {}",
        image.defined() ? fmt::format("{} {}", image.dtype(), image.shape()) : "nothing");
  const Size grid = patch_grid(frame, patch);
  const std::int64_t rows = grid.height * patch, columns = grid.width * patch, n = grid.height * grid.width;
  // To the frame first and to whole patches then, as for the networks.
  Tensor rgb = resize(image.to(Device::cpu()), frame.height, frame.width, io::Filter::kLanczos);
  if (frame != Size{rows, columns}) rgb = resize(rgb, rows, columns, io::Filter::kLanczos);
  const std::vector<float> planes = lab_planes(rgb.contiguous());

  std::vector<Descriptor> patches(static_cast<std::size_t>(n));
  const float longer = static_cast<float>(std::max(grid.height, grid.width));
  parallel_for(0, grid.height, 4, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t y = first; y < last; ++y)
      for (std::int64_t x = 0; x < grid.width; ++x) {
        Descriptor& d = patches[static_cast<std::size_t>(y * grid.width + x)];
        d = describe(planes, rows, columns, y * patch, x * patch, patch);
        d[kDescriptors - 2] = static_cast<float>(y) / longer;
        d[kDescriptors - 1] = static_cast<float>(x) / longer;
      }
  });
  Tensor features = Tensor::zeros({kColourFeatureDim, grid.height, grid.width});
  const double colour = standardize(patches, 0, kColours, 1, kColourFloor);
  const double texture = standardize(patches, kColours, kColours + kTextures, kTextureWeight, kTextureFloor);
  if (colour + texture < 1e-6) return features;

  // E[cos(w (f_i - f_j))] over normal w of deviation 1 / sigma is the Gaussian kernel, and cosines and sines of w f
  // have just that product. At the typical distance the kernel shall be kSimilar.
  const double distance = std::max(typical_distance(patches), 1e-6);
  const double inverse_sigma = std::sqrt(-2 * std::log(kSimilar)) / distance;
  constexpr std::int64_t kPairs = kColourFeatureDim / 2;
  Generator rng(0, 0x636F6C6F7572);  // any fixed stream
  std::vector<Descriptor> frequencies(static_cast<std::size_t>(kPairs));
  for (Descriptor& w : frequencies)
    for (float& v : w) v = static_cast<float>(inverse_sigma) * rng.normal();
  float* out = features.mutable_data<float>();
  parallel_for(0, kPairs, 8, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t k = first; k < last; ++k) {
      const Descriptor& w = frequencies[static_cast<std::size_t>(k)];
      for (std::int64_t i = 0; i < n; ++i) {
        const Descriptor& f = patches[static_cast<std::size_t>(i)];
        float phase = 0;
        for (std::size_t j = 0; j < kDescriptors; ++j) phase += w[j] * f[j];
        out[2 * k * n + i] = std::cos(phase);
        out[(2 * k + 1) * n + i] = std::sin(phase);
      }
    }
  });
  return features;
}

}  // namespace usol::maskcut
