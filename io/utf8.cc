#include "usol/io/utf8.h"

#include <fmt/format.h>
#include <simdjson.h>

namespace usol::io {

bool is_utf8(std::string_view text) { return simdjson::validate_utf8(text); }

std::string printable(std::string_view text) {
  const bool utf8 = is_utf8(text);
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !utf8)) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace usol::io
