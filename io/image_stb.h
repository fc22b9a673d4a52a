#pragma once
// stb_image behind two functions: PNG, BMP, GIF, TGA, PSD, and JPEG in a build without libjpeg.
//
// Where its pixels differ from Pillow's: JPEG (up to 3 levels in 1-2 % of the samples); GIF pixels that the first frame
// does not cover; PSD with alpha, whose white matte it removes.
//
// Source: https://github.com/nothings/stb (stb_image v2.27, public domain or MIT).

#include <cstddef>
#include <span>
#include <string>

#include "usol/io/image.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

/// Size in the header. Throws Error(kFormat) naming `name` and `format`, with stb's reason.
Size stb_image_size(std::span<const std::byte> bytes, const std::string& name, const std::string& format);
/// True if stb takes the bytes for one of its formats (TGA has no magic number, so this is how it is told).
bool stb_recognises(std::span<const std::byte> bytes);
/// Pixels as u8 [H, W, 3]. Throws Error(kFormat) also when the data ends before the image does.
Tensor decode_stb(std::span<const std::byte> bytes, const std::string& name, const std::string& format);
/// 16-bit grey PNG as Pillow converts it: min(value, 255), repeated to u8 [H, W, 3]; with `scale` value / 257, rounded.
/// `clipped` is set to whether any value was clipped.
Tensor decode_stb_grey16(std::span<const std::byte> bytes, const std::string& name, bool scale, bool& clipped);

}  // namespace usol::io
