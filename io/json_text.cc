// Strings go through nlohmann/json only where they need escaping: masks are long and plain.
#include "usol/io/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "usol/io/utf8.h"
#include "usol/tensor/check.h"

namespace usol::io {

std::string json_text(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void append_json_string(std::string& out, std::string_view text) {
  const auto plain = [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; };
  if (std::all_of(text.begin(), text.end(), plain)) {
    out.append("\"").append(text).append("\"");
    return;
  }
  check(is_utf8(text), ErrorKind::kFormat, "JSON: expected UTF-8, got \"{}\"", printable(text));
  out += nlohmann::json(text).dump();
}

void append_json_number(std::string& out, double value) {
  check(std::isfinite(value), "JSON: expected a finite number, got {}", value);
  fmt::format_to(std::back_inserter(out), "{}", value);
}

void append_json_number(std::string& out, std::int64_t value) { fmt::format_to(std::back_inserter(out), "{}", value); }

}  // namespace usol::io
