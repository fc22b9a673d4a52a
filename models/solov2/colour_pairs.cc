#include "usol/models/solov2/colour_pairs.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::solov2 {
namespace {

constexpr std::int64_t kStride = 4, kProbe = kStride / 2;

double linear(std::uint8_t byte) {
  const double v = byte / 255.0;
  return v > 0.04045 ? std::pow((v + 0.055) / 1.055, 2.4) : v / 12.92;
}

double lightness(double v) { return v > 0.008856 ? std::cbrt(v) : 7.787 * v + 16.0 / 116.0; }

// One picture's cells: their colours, and which count.
struct CellColours {
  std::vector<std::array<float, 3>> lab;
  std::vector<std::uint8_t> counts;
};

template <class T>
std::array<std::uint8_t, 3> mean_of(const T* pixels, const Size& size, std::int64_t y, std::int64_t x) {
  std::array<std::uint8_t, 3> mean{};
  for (std::int64_t c = 0; c < 3; ++c) {
    float sum = 0;
    for (std::int64_t v = kStride * y; v < std::min(kStride * (y + 1), size.height); ++v)
      for (std::int64_t u = kStride * x; u < std::min(kStride * (x + 1), size.width); ++u)
        sum += static_cast<float>(pixels[(v * size.width + u) * 3 + c]);
    mean[static_cast<std::size_t>(c)] = static_cast<std::uint8_t>(sum / (kStride * kStride));
  }
  return mean;
}

CellColours colours_of(const Tensor& picture, std::int64_t file_height, const Size& features, std::int64_t bottom_px) {
  const Tensor dense = picture.contiguous();
  const Size size{dense.size(0), dense.size(1)};
  const auto removed = static_cast<std::int64_t>(static_cast<double>(bottom_px) * static_cast<double>(size.height) /
                                                 static_cast<double>(file_height > 0 ? file_height : size.height));
  CellColours out;
  out.lab.resize(static_cast<std::size_t>(features.height * features.width));
  out.counts.resize(out.lab.size());
  parallel_for(0, features.height, 4, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t y = first; y < last; ++y) {
      for (std::int64_t x = 0; x < features.width; ++x) {
        const auto mean = dense.dtype() == DType::kU8 ? mean_of(dense.data<std::uint8_t>(), size, y, x)
                                                      : mean_of(dense.data<float>(), size, y, x);
        const auto lab = lab_of(mean);
        const auto cell = static_cast<std::size_t>(y * features.width + x);
        for (std::size_t c = 0; c < 3; ++c) out.lab[cell][c] = static_cast<float>(lab[c]);
        out.counts[cell] = kStride * y + kProbe < size.height - removed && kStride * x + kProbe < size.width ? 1 : 0;
      }
    }
  });
  return out;
}

bool are_alike(const std::array<float, 3>& a, const std::array<float, 3>& b, float alike) {
  float squares = 0;
  for (std::size_t c = 0; c < 3; ++c) squares += (a[c] - b[c]) * (a[c] - b[c]);
  return std::exp(-0.5f * std::sqrt(squares)) >= alike;
}

}  // namespace

std::array<double, 3> lab_of(const std::array<std::uint8_t, 3>& rgb) {
  const double r = linear(rgb[0]), g = linear(rgb[1]), b = linear(rgb[2]);
  const double x = lightness((0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.95047);
  const double y = lightness(0.212671 * r + 0.715160 * g + 0.072169 * b);
  const double z = lightness((0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.08883);
  return {116 * y - 16, 500 * (x - y), 200 * (y - z)};
}

std::array<ColourPairs, kPairDirections.size()> colour_pairs(const std::vector<Tensor>& pictures,
                                                             const std::vector<std::int64_t>& file_heights,
                                                             const Size& features, double alike, std::int64_t bottom_px,
                                                             const Device& device) {
  check(pictures.size() == file_heights.size(), "colour_pairs: {} pictures, {} heights", pictures.size(),
        file_heights.size());
  const auto n = static_cast<std::int64_t>(pictures.size());
  std::vector<CellColours> colours;
  for (std::size_t i = 0; i < pictures.size(); ++i)
    colours.push_back(colours_of(pictures[i], file_heights[i], features, bottom_px));
  std::array<ColourPairs, kPairDirections.size()> out;
  for (std::size_t d = 0; d < kPairDirections.size(); ++d) {
    const auto [dy, dx] = kPairDirections[d];
    const std::int64_t rows = std::max<std::int64_t>(0, features.height - dy);
    const std::int64_t columns = std::max<std::int64_t>(0, features.width - std::abs(dx));
    Tensor from_first = Tensor::zeros({n, rows, columns}), from_second = Tensor::zeros({n, rows, columns});
    float *first = from_first.mutable_data<float>(), *second = from_second.mutable_data<float>();
    for (const CellColours& of : colours) {
      for (std::int64_t y = 0; y < rows; ++y) {
        for (std::int64_t x = 0; x < columns; ++x, ++first, ++second) {
          const auto a = static_cast<std::size_t>(y * features.width + x + std::max<std::int64_t>(0, -dx));
          const auto b = static_cast<std::size_t>((y + dy) * features.width + x + std::max<std::int64_t>(0, dx));
          if (!are_alike(of.lab[a], of.lab[b], static_cast<float>(alike))) continue;
          *first = of.counts[b];
          *second = of.counts[a];
        }
      }
    }
    out[d] = {from_first.to(device), from_second.to(device)};
  }
  return out;
}

}  // namespace usol::solov2
