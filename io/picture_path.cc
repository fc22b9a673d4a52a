#include "usol/io/picture_path.h"

#include <algorithm>
#include <system_error>

#include "usol/tensor/error.h"

namespace fs = std::filesystem;

namespace usol::io {

std::string portable_name(std::string_view file_name) {
  std::string name(file_name);
  std::replace(name.begin(), name.end(), '\\', '/');
  return name;
}

fs::path picture_path(const fs::path& root, std::string_view file_name) {
  fs::path path = root / fs::path(file_name);
  std::error_code ignored;
  if (file_name.find('\\') == std::string_view::npos || fs::exists(path, ignored)) return path;
  return root / fs::path(portable_name(file_name));
}

bool fits_with_other_exif(const fs::path& picture, Size expected, bool apply_exif) {
  try {
    return image_size(picture, {.apply_exif = !apply_exif}) == expected;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace usol::io
