#pragma once
// Settings files: the part of TOML 1.0 that settings need. `key = value` lines under optional [section] headers, where
// a value is a string, a number, a boolean or an array of those. Anything else is an error naming the line. (CLI11's
// own reader cuts strings at '#', splits them at commas and takes a bare word for a flag.)

#include <string>
#include <string_view>
#include <vector>

namespace usol::io {

struct TomlEntry {
  std::string section;  // "" before the first header; "a.b" for [a.b]
  std::string key;
  std::vector<std::string> values;  // the text of each value: strings unquoted, the rest as written
  bool is_array = false;
  int line = 0;
};

/// Parses `text`; `name` (a file name) opens every error message.
/// Throws Error(kFormat) on malformed text, duplicate keys and parts of TOML that are not read here (inline tables,
/// arrays of tables, multi-line strings, dates, nested arrays).
std::vector<TomlEntry> parse_toml(std::string_view text, const std::string& name);
/// parse_toml of a file. Throws Error(kIo) when it cannot be read.
std::vector<TomlEntry> read_toml(const std::string& path);
/// `text` as a TOML basic string, quotes included.
std::string toml_quote(std::string_view text);

}  // namespace usol::io
