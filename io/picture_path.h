#pragma once
// From the file name in an annotation file to the picture on this machine, and what is wrong if the two do not fit.

#include <filesystem>
#include <string>
#include <string_view>

#include "usol/io/image.h"

namespace usol::io {

/// The name with '/' in the place of '\': annotation files made on Windows name folders so.
std::string portable_name(std::string_view file_name);

/// Where the picture `file_name` lies under `root`: the name as it is, or, if it has backslashes and no such file
/// exists, its portable_name().
std::filesystem::path picture_path(const std::filesystem::path& root, std::string_view file_name);

/// True if a picture that was decoded with `apply_exif` to `found` pixels has the expected size when decoded without
/// (or the other way round): the annotations were made on the picture as it is stored (or as it is shown). False if the
/// picture cannot be read.
bool fits_with_other_exif(const std::filesystem::path& picture, Size expected, bool apply_exif);

}  // namespace usol::io
