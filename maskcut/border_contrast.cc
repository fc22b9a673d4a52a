#include "usol/maskcut/border_contrast.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "usol/io/resize.h"
#include "usol/maskcut/lab.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

// Passes over the picture, every second one backwards.
constexpr int kPasses = 3;
constexpr double kBand = 0.1;           // of the longer side
constexpr double kRegular = 0.01;       // of the picture's mean variance, added to a band's covariance
constexpr std::int64_t kSmoothing = 5;  // pixels

Tensor stretched(std::vector<double> values, std::int64_t height, std::int64_t width) {
  stretch(values);
  return Tensor::from(values, {height, width});
}

// Narrows the barrier at `to` by the path over its neighbour `from`.
struct Barriers {
  const double* value;
  std::vector<double> high, low, barrier;

  void relax(std::size_t from, std::size_t to) {
    const double h = std::max(high[from], value[to]), l = std::min(low[from], value[to]);
    if (h - l >= barrier[to]) return;
    barrier[to] = h - l;
    high[to] = h;
    low[to] = l;
  }
};

std::vector<double> barriers_of(const double* plane, std::int64_t height, std::int64_t width) {
  const auto count = static_cast<std::size_t>(height * width), w = static_cast<std::size_t>(width);
  Barriers b{plane, {plane, plane + count}, {plane, plane + count}, std::vector<double>(count)};
  for (std::int64_t y = 1; y + 1 < height; ++y)
    for (std::int64_t x = 1; x + 1 < width; ++x)
      b.barrier[static_cast<std::size_t>(y * width + x)] = std::numeric_limits<double>::infinity();
  for (int pass = 0; pass < kPasses; ++pass)
    for (std::size_t k = 0; k < count; ++k) {
      const std::size_t at = pass % 2 == 0 ? k : count - 1 - k, x = at % w;
      if (pass % 2 == 0) {
        if (at >= w) b.relax(at - w, at);
        if (x > 0) b.relax(at - 1, at);
      } else {
        if (at + w < count) b.relax(at + w, at);
        if (x + 1 < w) b.relax(at + 1, at);
      }
    }
  return b.barrier;
}

struct Band {
  std::int64_t top, left, bottom, right;
};

// Cholesky's decomposition of a symmetric positive definite matrix, in the place of its lower half.
void factor(std::vector<double>& a, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i)
    for (std::size_t j = 0; j <= i; ++j) {
      double v = a[i * size + j];
      for (std::size_t k = 0; k < j; ++k) v -= a[i * size + k] * a[j * size + k];
      a[i * size + j] = i == j ? std::sqrt(v) : v / a[j * size + j];
    }
}

// Mahalanobis distances of all pixels to the pixels of a band, divided by the largest.
std::vector<double> distances_to(const Band& band, const Tensor& planes, double regular) {
  const auto c = static_cast<std::size_t>(planes.size(0));
  const std::int64_t width = planes.size(2), count = planes.size(1) * width;
  const double* values = planes.data<double>();
  const auto value = [&](std::size_t k, std::int64_t i) { return values[static_cast<std::int64_t>(k) * count + i]; };
  const double n = static_cast<double>((band.bottom - band.top) * (band.right - band.left));
  const auto for_band = [&](const auto& f) {
    for (std::int64_t y = band.top; y < band.bottom; ++y)
      for (std::int64_t x = band.left; x < band.right; ++x) f(y * width + x);
  };
  std::vector<double> mean(c), covariance(c * c), e(c);
  for_band([&](std::int64_t i) {
    for (std::size_t k = 0; k < c; ++k) mean[k] += value(k, i) / n;
  });
  for_band([&](std::int64_t i) {
    for (std::size_t k = 0; k < c; ++k)
      for (std::size_t l = 0; l <= k; ++l)
        covariance[k * c + l] += (value(k, i) - mean[k]) * (value(l, i) - mean[l]) / n;
  });
  for (std::size_t k = 0; k < c; ++k) covariance[k * c + k] += regular;
  factor(covariance, c);
  std::vector<double> distance(static_cast<std::size_t>(count));
  double largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    double square = 0;
    for (std::size_t k = 0; k < c; ++k) {  // the length of L^-1 (value - mean)
      e[k] = value(k, i) - mean[k];
      for (std::size_t l = 0; l < k; ++l) e[k] -= covariance[k * c + l] * e[l];
      e[k] /= covariance[k * c + k];
      square += e[k] * e[k];
    }
    distance[static_cast<std::size_t>(i)] = std::sqrt(square);
    largest = std::max(largest, distance[static_cast<std::size_t>(i)]);
  }
  for (double& d : distance) d /= largest > 0 ? largest : 1;
  return distance;
}

// Variance of a plane's values.
double variance_of(const double* values, std::int64_t count) {
  double sum = 0, squares = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += values[i];
  const double mean = sum / static_cast<double>(count);
  for (std::int64_t i = 0; i < count; ++i) squares += (values[i] - mean) * (values[i] - mean);
  return squares / static_cast<double>(count);
}

// Means over kSmoothing pixels along one axis (stride apart), the border's pixels repeated.
void smooth_line(const float* in, float* out, std::int64_t length, std::int64_t stride) {
  for (std::int64_t i = 0; i < length; ++i) {
    double sum = 0;
    for (std::int64_t d = -(kSmoothing / 2); d <= kSmoothing / 2; ++d)
      sum += in[std::clamp<std::int64_t>(i + d, 0, length - 1) * stride];
    out[i * stride] = static_cast<float>(sum / kSmoothing);
  }
}

Tensor smooth_lab(const Tensor& rgb) {
  const std::int64_t height = rgb.size(0), width = rgb.size(1), count = height * width;
  std::vector<float> planes = lab_planes(rgb), across(planes.size());
  for (std::int64_t p = 0; p < 3; ++p) {
    for (std::int64_t y = 0; y < height; ++y)
      smooth_line(&planes[static_cast<std::size_t>(p * count + y * width)],
                  &across[static_cast<std::size_t>(p * count + y * width)], width, 1);
    for (std::int64_t x = 0; x < width; ++x)
      smooth_line(&across[static_cast<std::size_t>(p * count + x)], &planes[static_cast<std::size_t>(p * count + x)],
                  height, width);
  }
  return Tensor::from(std::vector<double>(planes.begin(), planes.end()), {3, height, width});
}

Tensor small_picture(const Tensor& image) {
  const double longer = static_cast<double>(std::max(image.size(0), image.size(1)));
  const auto side = [&](std::int64_t full) {
    return std::max<std::int64_t>(1, std::llround(static_cast<double>(full * kContrastSide) / longer));
  };
  return resize(image, side(image.size(0)), side(image.size(1)),
                longer > kContrastSide ? io::Filter::kLanczos : io::Filter::kBilinear);
}

}  // namespace

void check_planes(const char* name, const Tensor& planes) {
  check(planes.defined() && planes.rank() == 3 && planes.dtype() == DType::kF64 && planes.numel() > 0,
        "{}: expected f64 [C, h, w], got {}", name,
        planes.defined() ? fmt::format("{} {}", planes.dtype(), planes.shape()) : "nothing");
}

void stretch(std::vector<double>& values) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const double low = *least, range = *most - *least;
  for (double& v : values) v = range > 0 ? (v - low) / range : 0;
}

Tensor barrier_distance(const Tensor& planes) {
  check_planes("barrier_distance", planes);
  const Tensor dense = planes.contiguous();
  const std::int64_t height = planes.size(1), width = planes.size(2), count = height * width;
  std::vector<double> sum(static_cast<std::size_t>(count));
  for (std::int64_t c = 0; c < planes.size(0); ++c) {
    const std::vector<double> barrier = barriers_of(dense.data<double>() + c * count, height, width);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += barrier[i];
  }
  return stretched(std::move(sum), height, width);
}

Tensor border_distance(const Tensor& planes) {
  check_planes("border_distance", planes);
  const Tensor dense = planes.contiguous();
  const std::int64_t channels = planes.size(0), height = planes.size(1), width = planes.size(2);
  const auto band = std::max<std::int64_t>(1, std::llround(kBand * static_cast<double>(std::max(height, width))));
  const std::int64_t down = std::min(band, height), across = std::min(band, width);
  double variance = 0;
  for (std::int64_t c = 0; c < channels; ++c)
    variance += variance_of(dense.data<double>() + c * height * width, height * width);
  // A picture of one colour is at no distance from its border.
  const double regular = std::max(kRegular * variance / static_cast<double>(channels), 1e-12);
  std::vector<double> sum(static_cast<std::size_t>(height * width)), most(sum.size());
  for (const Band& side : {Band{0, 0, down, width}, Band{height - down, 0, height, width}, Band{0, 0, height, across},
                           Band{0, width - across, height, width}}) {
    const std::vector<double> distance = distances_to(side, dense, regular);
    for (std::size_t i = 0; i < sum.size(); ++i) {
      sum[i] += distance[i];
      most[i] = std::max(most[i], distance[i]);
    }
  }
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] -= most[i];
  return stretched(std::move(sum), height, width);
}

Tensor border_contrast(const Tensor& image) {
  check(image.defined() && image.rank() == 3 && image.dtype() == DType::kU8 && image.size(2) == 3 && image.numel() > 0,
        "border_contrast: expected a u8 image [H, W, 3], got {}",
        image.defined() ? fmt::format("{} {}", image.dtype(), image.shape()) : "nothing");
  const Tensor planes = smooth_lab(small_picture(image.to(Device::cpu())).contiguous());
  std::vector<double> sum(static_cast<std::size_t>(planes.size(1) * planes.size(2)));
  for (const Tensor& map : {background_contrast(planes), barrier_distance(planes), border_distance(planes)}) {
    const double* values = map.data<double>();
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += values[i];
  }
  return stretched(std::move(sum), planes.size(1), planes.size(2));
}

double otsu_threshold(const Tensor& map) {
  check(map.defined() && map.dtype() == DType::kF64 && map.numel() > 0, "otsu_threshold: expected f64 values");
  const std::vector<double> values = map.to_vector<double>();
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const double low = *least, step = (*most - *least) / 256;
  if (step <= 0) return low;
  std::array<double, 256> count{};
  for (const double v : values) ++count[static_cast<std::size_t>(std::min(255.0, (v - low) / step))];
  const auto centre = [&](std::size_t bin) { return low + (static_cast<double>(bin) + 0.5) * step; };
  double total = 0, total_sum = 0;
  for (std::size_t i = 0; i < 256; ++i) {
    total += count[i];
    total_sum += count[i] * centre(i);
  }
  double below = 0, below_sum = 0, best = -1, threshold = low;
  for (std::size_t i = 0; i + 1 < 256; ++i) {
    below += count[i];
    below_sum += count[i] * centre(i);
    const double difference = below_sum / below - (total_sum - below_sum) / (total - below);
    const double between = below * (total - below) * difference * difference;
    if (between <= best) continue;
    best = between;
    threshold = centre(i);
  }
  return threshold;
}

}  // namespace usol::maskcut
