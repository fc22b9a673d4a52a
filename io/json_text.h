#pragma once
// The pieces of JSON text that record-by-record writers need.

#include <cstdint>
#include <string>
#include <string_view>

namespace usol::io {

/// Appends a quoted string. Throws Error(kFormat) if `text` is not UTF-8, which JSON cannot hold.
void append_json_string(std::string& out, std::string_view text);
/// Appends the shortest decimal that reads back as `value`. Throws Error(kInvalidArgument) unless it is finite.
void append_json_number(std::string& out, double value);
void append_json_number(std::string& out, std::int64_t value);

}  // namespace usol::io
