#pragma once
// Arithmetic on samples that decoders share, in Pillow's integers.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "usol/io/image.h"

namespace usol::io {

/// What an ink of 0..255 leaves of `light`: light - ink * light / 255, rounded. RGB of CMYK, with light = 255 - K.
inline std::uint8_t light_through(int ink, int light) {
  const int product = ink * light + 128;
  return static_cast<std::uint8_t>(light - (((product >> 8) + product) >> 8));
}

/// The colour that alpha was multiplied into: 255 * value / alpha, rounded down, at most 255; 0 where alpha is.
inline std::uint8_t unmultiplied(int value, int alpha) {
  return alpha == 0 ? std::uint8_t{0} : static_cast<std::uint8_t>(std::min(255, 255 * value / alpha));
}

/// Grey of more than 8 bits to 8: clipped as Pillow does, or scaled from 0..`highest`.
class DeepGrey {
 public:
  DeepGrey(bool scale, double highest) : scale_(scale), highest_(highest) {}

  std::uint8_t operator()(double value) {
    if (scale_) return value > 0 ? static_cast<std::uint8_t>(std::lround(std::min(value / highest_, 1.0) * 255)) : 0;
    if (value >= 0 && value <= 255) return static_cast<std::uint8_t>(value);
    clipped_ = true;
    return value > 255 ? 255 : 0;  // no number is black
  }
  /// Tells the warnings if anything was clipped.
  void warn(const DecodeOptions& options, const std::string& name, const std::string& what) const {
    if (clipped_) options.warn(DecodeWarning::kDeepGrey, name, name + ": " + what + " was clipped, as Pillow does");
  }

 private:
  bool scale_, clipped_ = false;
  double highest_;
};

}  // namespace usol::io
