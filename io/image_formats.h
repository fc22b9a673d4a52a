#pragma once
// The picture formats: how each is told by its first bytes, what its files are called, and what reads it. The one list
// behind decode_image(), the scan of folders and what the binary says of itself.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace usol::io {

struct PictureCodec;

struct ImageFormat {
  std::string_view name;                        // "WebP"
  std::vector<std::string_view> extensions;     // lower case, with the dot
  const PictureCodec* (*codec)() = nullptr;     // none: no build reads it
  std::string_view library = {}, package = {};  // what reads it, if that is optional, and Debian's name for it

  bool readable() const { return codec != nullptr && codec() != nullptr; }
};

/// All formats that are known by name, readable or not.
const std::vector<ImageFormat>& image_formats();

/// The format of a file by its first bytes; never by its name. Throws Error naming `name`: kFormat for an empty file or
/// an unknown format, kUnsupported for one that cannot be read, with what would read it.
const ImageFormat& recognise_image(std::span<const std::byte> bytes, const std::string& name);

/// True if a file of this name counts as a picture in a folder. Formats that cannot be read count too: such a picture
/// is reported, never passed over.
bool is_picture_name(const std::filesystem::path& path);

/// The formats that this build reads, as text: "JPEG, PNG, ...".
std::string readable_formats();

}  // namespace usol::io
