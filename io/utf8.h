#pragma once
// Text that may not be UTF-8: names of files, and of tensors, are any bytes, but JSON holds UTF-8 alone.

#include <string>
#include <string_view>

namespace usol::io {

bool is_utf8(std::string_view text);

/// Harmless on a terminal and valid in JSON: control characters, and of text that is not UTF-8 all bytes beyond ASCII,
/// as \xff.
std::string printable(std::string_view text);

}  // namespace usol::io
