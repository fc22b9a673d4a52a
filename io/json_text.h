#pragma once
// The pieces of JSON text that record-by-record writers need.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace usol::io {

/// The JSON as text; indented if `indent` is not negative. What is not UTF-8 in it (paths, messages of the system) is
/// replaced by U+FFFD.
std::string json_text(const nlohmann::ordered_json& json, int indent = -1);

/// Appends a quoted string. Throws Error(kFormat) if `text` is not UTF-8, which JSON cannot hold.
void append_json_string(std::string& out, std::string_view text);
/// Appends the shortest decimal that reads back as `value`. Throws Error(kInvalidArgument) unless it is finite.
void append_json_number(std::string& out, double value);
void append_json_number(std::string& out, std::int64_t value);

}  // namespace usol::io
