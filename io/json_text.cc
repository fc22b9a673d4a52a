// Strings go through nlohmann/json only where they need escaping: masks are long and plain.
#include "usol/io/json_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>

#include "usol/tensor/check.h"

namespace usol::io {

void append_json_string(std::string& out, std::string_view text) {
  const auto plain = [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; };
  if (std::all_of(text.begin(), text.end(), plain)) {
    out.append("\"").append(text).append("\"");
    return;
  }
  try {
    out += nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail(ErrorKind::kFormat, fmt::format("JSON: expected UTF-8, got \"{}\"", text));
  }
}

void append_json_number(std::string& out, double value) {
  check(std::isfinite(value), "JSON: expected a finite number, got {}", value);
  fmt::format_to(std::back_inserter(out), "{}", value);
}

void append_json_number(std::string& out, std::int64_t value) { fmt::format_to(std::back_inserter(out), "{}", value); }

}  // namespace usol::io
