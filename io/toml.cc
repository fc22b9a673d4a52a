#include "usol/io/toml.h"

#include <cctype>
#include <cstdint>
#include <set>
#include <utility>

#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

bool is_bare_key(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-'; }

void append_utf8(std::string& out, std::uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  const int extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static constexpr unsigned kLead[] = {0, 0xC0, 0xE0, 0xF0};
  out += static_cast<char>(kLead[extra] | (code >> (6 * extra)));
  for (int i = extra - 1; i >= 0; --i) out += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3F));
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  std::vector<TomlEntry> parse() {
    std::vector<TomlEntry> entries;
    std::set<std::pair<std::string, std::string>> seen;
    std::set<std::string> sections;
    std::string section;
    for (skip_blank_lines(); !at_end(); skip_blank_lines()) {
      if (peek() == '[') {
        ++position_;
        require(peek() != '[', "arrays of tables are not read here");
        section = dotted_key();
        expect(']');
        require(sections.insert(section).second, fmt::format("section [{}] appears twice", section));
      } else {
        TomlEntry entry;
        entry.section = section;
        entry.line = line_;
        std::string key = dotted_key();
        if (const auto dot = key.rfind('.'); dot != std::string::npos) {
          if (!section.empty()) entry.section += '.';
          entry.section.append(key, 0, dot);
          key.erase(0, dot + 1);
        }
        entry.key = std::move(key);
        expect('=');
        value(entry);
        require(seen.emplace(entry.section, entry.key).second, fmt::format("key '{}' appears twice", entry.key));
        entries.push_back(std::move(entry));
      }
      end_of_line();
    }
    return entries;
  }

 private:
  bool at_end() const { return position_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[position_]; }

  void require(bool condition, const std::string& problem) const {
    check(condition, ErrorKind::kFormat, "{}:{}: {}", name_, line_, problem);
  }

  void skip_spaces() {
    while (peek() == ' ' || peek() == '\t') ++position_;
  }

  void skip_comment() {
    if (peek() != '#') return;
    while (!at_end() && peek() != '\n') ++position_;
  }

  void skip_blank_lines() {
    for (;;) {
      skip_spaces();
      skip_comment();
      if (peek() == '\r' && position_ + 1 < text_.size() && text_[position_ + 1] == '\n') ++position_;
      if (peek() != '\n' || at_end()) return;
      ++position_;
      ++line_;
    }
  }

  void end_of_line() {
    skip_spaces();
    skip_comment();
    if (peek() == '\r') ++position_;
    require(at_end() || peek() == '\n', "expected the end of the line");
  }

  void expect(char c) {
    skip_spaces();
    require(!at_end() && peek() == c, fmt::format("expected '{}'", c));
    ++position_;
    skip_spaces();
  }

  std::string dotted_key() {
    std::string key;
    for (;;) {
      skip_spaces();
      const std::size_t start = position_;
      if (peek() == '"' || peek() == '\'') {
        key += quoted();
      } else {
        while (!at_end() && is_bare_key(peek())) ++position_;
        require(position_ > start, "expected a key");
        key += text_.substr(start, position_ - start);
      }
      skip_spaces();
      if (peek() != '.') return key;
      ++position_;
      key += '.';
    }
  }

  void value(TomlEntry& entry) {
    if (peek() != '[') {
      entry.values.push_back(scalar());
      return;
    }
    entry.is_array = true;
    ++position_;
    for (;;) {
      skip_blank_lines();
      if (peek() == ']') break;
      require(peek() != '[', "nested arrays are not read here");
      entry.values.push_back(scalar());
      skip_blank_lines();
      if (peek() == ',') {
        ++position_;
      } else {
        require(peek() == ']', "expected ',' or ']' in the array");
      }
    }
    ++position_;
  }

  std::string scalar() {
    if (peek() == '"' || peek() == '\'') return quoted();
    require(peek() != '{', "inline tables are not read here");
    const std::size_t start = position_;
    while (!at_end() && (is_bare_key(peek()) || peek() == '.' || peek() == '+')) ++position_;
    std::string text(text_.substr(start, position_ - start));
    require(!text.empty(), "expected a value");
    if (text == "true" || text == "false") return text;
    // A number: digits may be grouped by '_'; inf and nan are TOML numbers too.
    std::erase(text, '_');
    const std::string digits =
        text.substr(text.find_first_not_of("+-") == std::string::npos ? 0 : text.find_first_not_of("+-"));
    char* end = nullptr;
    std::strtod(digits.c_str(), &end);
    require(!digits.empty() && *end == '\0' &&
                (std::isdigit(static_cast<unsigned char>(digits[0])) || digits == "inf" || digits == "nan"),
            fmt::format("'{}' is neither a number nor true or false (strings need quotes)", text));
    return text;
  }

  std::string quoted() {
    const char quote = peek();
    require(text_.substr(position_, 3) != std::string(3, quote), "multi-line strings are not read here");
    ++position_;
    std::string out;
    for (;; ++position_) {
      require(!at_end() && peek() != '\n', "the string has no closing quote");
      if (peek() == quote) break;
      if (quote == '"' && peek() == '\\') {
        ++position_;
        escape(out);
      } else {
        out += peek();
      }
    }
    ++position_;
    return out;
  }

  void escape(std::string& out) {
    static constexpr std::string_view kFrom = "btnfr\"\\", kTo = "\b\t\n\f\r\"\\";
    const char c = peek();
    if (const auto i = kFrom.find(c); i != std::string_view::npos && !at_end()) {
      out += kTo[i];
      return;
    }
    require(c == 'u' || c == 'U', "unknown escape in the string");
    const int digits = c == 'u' ? 4 : 8;
    std::uint32_t code = 0;
    for (int i = 0; i < digits; ++i) {
      ++position_;
      require(std::isxdigit(static_cast<unsigned char>(peek())) != 0, "expected hexadecimal digits after \\u");
      const char d = static_cast<char>(std::tolower(static_cast<unsigned char>(peek())));
      code = code * 16 + static_cast<std::uint32_t>(d <= '9' ? d - '0' : d - 'a' + 10);
    }
    require(code < 0x110000 && (code < 0xD800 || code > 0xDFFF), "not a Unicode character");
    append_utf8(out, code);
  }

  std::string_view text_;
  const std::string& name_;
  std::size_t position_ = 0;
  int line_ = 1;
};

}  // namespace

std::vector<TomlEntry> parse_toml(std::string_view text, const std::string& name) { return Parser(text, name).parse(); }

std::vector<TomlEntry> read_toml(const std::string& path) { return parse_toml(read_text_file(path), path); }

std::string toml_quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
  return out;
}

}  // namespace usol::io
