// Where Pillow computes in float, double or 32 bits, so does this: the results are rounded, and every bit is meant.
#include "usol/io/adjust.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "usol/tensor/check.h"

namespace usol::io {
namespace {

struct Pixels {
  std::uint8_t* data;
  std::int64_t height, width;
  std::int64_t count() const { return height * width; }
};

Pixels pixels_of(const char* what, Tensor& image) {
  check(image.defined() && image.is_cpu() && image.dtype() == DType::kU8 && image.rank() == 3 && image.size(2) == 3 &&
            image.is_contiguous() && image.numel() > 0,
        "{}: expected a dense u8 image [H, W, 3] on the CPU", what);
  return {image.mutable_data<std::uint8_t>(), image.size(0), image.size(1)};
}

std::uint8_t luminance(const std::uint8_t* rgb) {
  return static_cast<std::uint8_t>((19595U * rgb[0] + 38470U * rgb[1] + 7471U * rgb[2] + 0x8000U) >> 16);
}

// from + factor (to - from); what is between the two is cut to a whole number, what is beyond is clipped, too.
std::uint8_t blend(std::uint8_t from, std::uint8_t to, float factor) {
  const float mixed = static_cast<float>(from) + factor * static_cast<float>(to - from);
  return static_cast<std::uint8_t>(std::clamp(mixed, 0.0F, 255.0F));
}

void check_factor(const char* what, double factor) {
  check(std::isfinite(factor) && factor >= 0, "{}: expected a factor of at least 0, got {}", what, factor);
}

// h, s and v of 8 bits.
std::array<std::uint8_t, 3> to_hsv(const std::uint8_t* rgb) {
  const int r = rgb[0], g = rgb[1], b = rgb[2];
  const int most = std::max({r, g, b}), least = std::min({r, g, b});
  if (most == least) return {0, 0, static_cast<std::uint8_t>(most)};
  const auto range = static_cast<float>(most - least);
  const float saturation = range / static_cast<float>(most);
  const float rc = static_cast<float>(most - r) / range, gc = static_cast<float>(most - g) / range,
              bc = static_cast<float>(most - b) / range;
  float hue;
  if (r == most)
    hue = bc - gc;
  else if (g == most)
    hue = static_cast<float>(2.0 + static_cast<double>(rc) - static_cast<double>(bc));
  else
    hue = static_cast<float>(4.0 + static_cast<double>(gc) - static_cast<double>(rc));
  hue = static_cast<float>(std::fmod(static_cast<double>(hue) / 6.0 + 1.0, 1.0));
  const auto byte = [](double value) { return static_cast<std::uint8_t>(std::clamp(static_cast<int>(value), 0, 255)); };
  return {byte(static_cast<double>(hue) * 255.0), byte(static_cast<double>(saturation) * 255.0),
          static_cast<std::uint8_t>(most)};
}

void from_hsv(const std::array<std::uint8_t, 3>& hsv, std::uint8_t* rgb) {
  const auto [h, s, v] = hsv;
  if (s == 0) {
    rgb[0] = rgb[1] = rgb[2] = v;
    return;
  }
  const double sixth = static_cast<double>(static_cast<float>(h)) * 6.0 / 255.0;
  const int sector = static_cast<int>(std::floor(sixth));
  const auto part = static_cast<double>(static_cast<float>(sixth - static_cast<double>(static_cast<float>(sector))));
  const auto saturation = static_cast<double>(static_cast<float>(static_cast<double>(s) / 255.0));
  const auto value = [bright = static_cast<double>(v)](double share) {
    return static_cast<std::uint8_t>(std::clamp(static_cast<int>(std::round(bright * share)), 0, 255));
  };
  const std::uint8_t p = value(1.0 - saturation), q = value(1.0 - saturation * part),
                     t = value(1.0 - saturation * (1.0 - part));
  const std::array<std::array<std::uint8_t, 3>, 6> sectors{
      {{v, t, p}, {q, v, p}, {p, v, t}, {p, q, v}, {t, p, v}, {v, p, q}}};
  std::copy_n(sectors[static_cast<std::size_t>(sector % 6)].begin(), 3, rgb);
}

// One box blur of a line: pixels within `radius` count in full, the two beyond it in part.
struct BoxBlur {
  std::int64_t radius = 0;
  std::uint32_t full = 0, part = 0;  // weights in 24 bits; together with the inner ones they are 1

  explicit BoxBlur(float size) : radius(static_cast<std::int64_t>(size)) {
    full = static_cast<std::uint32_t>(static_cast<float>(1U << 24) / (size * 2 + 1));
    part = ((1U << 24) - static_cast<std::uint32_t>(radius * 2 + 1) * full) / 2;
  }

  void operator()(const std::vector<std::uint8_t>& in, std::vector<std::uint8_t>& out) const {
    const auto last = static_cast<std::int64_t>(in.size()) - 1;
    const auto at = [&](std::int64_t i) {
      return static_cast<std::uint32_t>(in[static_cast<std::size_t>(std::clamp<std::int64_t>(i, 0, last))]);
    };
    std::uint32_t sum = 0;
    for (std::int64_t i = -radius; i <= radius; ++i) sum += at(i);
    for (std::int64_t i = 0; i <= last; ++i) {
      const std::uint32_t bulk = sum * full + (at(i - radius - 1) + at(i + radius + 1)) * part;
      out[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>((bulk + (1U << 23)) >> 24);
      sum += at(i + radius + 1) - at(i - radius);
    }
  }
};

constexpr int kPasses = 3;

// The size of the extended box that, applied kPasses times, has the deviation.
float box_size(float deviation) {
  const float variance = deviation * deviation / static_cast<float>(kPasses);
  const auto length = static_cast<float>(std::sqrt(12.0 * static_cast<double>(variance) + 1.0));
  const auto whole = static_cast<float>(std::floor((static_cast<double>(length) - 1.0) / 2.0));
  float part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
  part /= 6 * (variance - (whole + 1) * (whole + 1));
  return whole + part;
}

// Blurs `lines` lines that begin `next` apart; their pixels lie `step` apart.
void blur_lines(const BoxBlur& blur, std::uint8_t* data, std::int64_t lines, std::int64_t next, std::int64_t length,
                std::int64_t step) {
  std::vector<std::uint8_t> line(static_cast<std::size_t>(length)), other(line.size());
  for (std::int64_t l = 0; l < lines; ++l) {
    for (std::int64_t channel = 0; channel < 3; ++channel) {
      std::uint8_t* first = data + l * next + channel;
      for (std::int64_t i = 0; i < length; ++i) line[static_cast<std::size_t>(i)] = first[i * step];
      for (int pass = 0; pass < kPasses; ++pass) {
        blur(line, other);
        std::swap(line, other);
      }
      for (std::int64_t i = 0; i < length; ++i) first[i * step] = line[static_cast<std::size_t>(i)];
    }
  }
}

}  // namespace

void flip_left_right(Tensor& image) {
  const Pixels p = pixels_of("flip_left_right", image);
  for (std::int64_t y = 0; y < p.height; ++y) {
    std::uint8_t* row = p.data + y * p.width * 3;
    for (std::int64_t l = 0, r = p.width - 1; l < r; ++l, --r)
      std::swap_ranges(row + 3 * l, row + 3 * l + 3, row + 3 * r);
  }
}

void to_grey(Tensor& image) {
  const Pixels p = pixels_of("to_grey", image);
  for (std::int64_t i = 0; i < p.count(); ++i) std::fill_n(p.data + 3 * i, 3, luminance(p.data + 3 * i));
}

void adjust_brightness(Tensor& image, double factor) {
  check_factor("adjust_brightness", factor);
  const Pixels p = pixels_of("adjust_brightness", image);
  for (std::int64_t i = 0; i < 3 * p.count(); ++i) p.data[i] = blend(0, p.data[i], static_cast<float>(factor));
}

void adjust_contrast(Tensor& image, double factor) {
  check_factor("adjust_contrast", factor);
  const Pixels p = pixels_of("adjust_contrast", image);
  std::int64_t sum = 0;
  for (std::int64_t i = 0; i < p.count(); ++i) sum += luminance(p.data + 3 * i);
  const auto mean = static_cast<std::uint8_t>(static_cast<double>(sum) / static_cast<double>(p.count()) + 0.5);
  for (std::int64_t i = 0; i < 3 * p.count(); ++i) p.data[i] = blend(mean, p.data[i], static_cast<float>(factor));
}

void adjust_saturation(Tensor& image, double factor) {
  check_factor("adjust_saturation", factor);
  const Pixels p = pixels_of("adjust_saturation", image);
  for (std::uint8_t* pixel = p.data; pixel < p.data + 3 * p.count(); pixel += 3) {
    const std::uint8_t grey = luminance(pixel);
    for (int c = 0; c < 3; ++c) pixel[c] = blend(grey, pixel[c], static_cast<float>(factor));
  }
}

void adjust_hue(Tensor& image, double turn) {
  check(turn >= -0.5 && turn <= 0.5, "adjust_hue: expected a turn of -0.5 to 0.5, got {}", turn);
  const Pixels p = pixels_of("adjust_hue", image);
  const auto steps = static_cast<std::uint8_t>(static_cast<int>(turn * 255));  // cut to a whole number, then modulo 256
  for (std::uint8_t* pixel = p.data; pixel < p.data + 3 * p.count(); pixel += 3) {
    auto hsv = to_hsv(pixel);
    hsv[0] = static_cast<std::uint8_t>(hsv[0] + steps);
    from_hsv(hsv, pixel);
  }
}

void solarize(Tensor& image, int threshold) {
  const Pixels p = pixels_of("solarize", image);
  for (std::int64_t i = 0; i < 3 * p.count(); ++i)
    if (p.data[i] >= threshold) p.data[i] = static_cast<std::uint8_t>(255 - p.data[i]);
}

void gaussian_blur(Tensor& image, double radius) {
  check(std::isfinite(radius) && radius >= 0, "gaussian_blur: expected a radius of at least 0, got {}", radius);
  const Pixels p = pixels_of("gaussian_blur", image);
  if (radius == 0) return;
  const BoxBlur blur(box_size(static_cast<float>(radius)));
  blur_lines(blur, p.data, p.height, 3 * p.width, p.width, 3);
  blur_lines(blur, p.data, p.width, 3, p.height, 3 * p.width);
}

}  // namespace usol::io
