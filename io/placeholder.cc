#include "usol/io/placeholder.h"

#include <algorithm>
#include <cctype>

#include "usol/tensor/check.h"

namespace usol::io {
namespace {

constexpr std::size_t kLookedAt = 1024;  // bytes; pointers are shorter, and pages begin as pages

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), kLookedAt)};
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// The digits after "\nsize " of a git-LFS pointer; empty if there are none.
std::string_view pointer_size(std::string_view text) {
  constexpr std::string_view kSize = "\nsize ";
  const std::size_t at = text.find(kSize);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + kSize.size());
  return text.substr(0, std::min(text.find_first_not_of("0123456789"), std::size_t{20}));
}

bool is_web_page(const std::string& text) {
  constexpr std::string_view kStarts[] = {"<!doctype html", "<html",   "<head>", "<body>",
                                          "<meta ",         "<title>", "<script"};
  const auto begins = [&](std::string_view rest) {
    return std::any_of(std::begin(kStarts), std::end(kStarts), [&](std::string_view s) { return rest.starts_with(s); });
  };
  std::string_view rest = text;
  // A comment or an XML declaration may come first.
  for (int skipped = 0; skipped < 4; ++skipped) {
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t\r\n"), rest.size()));
    if (begins(rest)) return true;
    const std::string_view end = rest.starts_with("<!--") ? "-->" : rest.starts_with("<?xml") ? "?>" : "";
    if (end.empty() || rest.find(end) == std::string_view::npos) return false;
    rest.remove_prefix(rest.find(end) + end.size());
  }
  return false;
}

}  // namespace

std::optional<Placeholder> recognise_placeholder(std::span<const std::byte> bytes) {
  std::string_view text = text_of(bytes);
  if (text.starts_with("version https://git-lfs.github.com/spec/") ||
      text.starts_with("version https://hawser.github.com/spec/") || text.starts_with("version http://git-media.io/")) {
    const std::string_view size = pointer_size(text);
    return Placeholder{"a git-LFS pointer",
                       fmt::format("fetch the file itself{} with 'git lfs pull', or download it from its page",
                                   size.empty() ? "" : fmt::format(" ({} bytes)", size))};
  }
  if (text.starts_with("/annex/objects/"))
    return Placeholder{"a git-annex pointer", "fetch the file itself with 'git annex get'"};
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '<') return std::nullopt;
  const std::string small = lower(text);
  if (is_web_page(small))
    return Placeholder{"a web page (HTML)",
                       "the download gave a page, perhaps an error or a login; fetch the file itself"};
  if (small.find("<?xml") == first && small.find("<error>") != std::string::npos)
    return Placeholder{"a server's error message (XML)", "the download failed; fetch the file again"};
  return std::nullopt;
}

void refuse_placeholder(std::span<const std::byte> bytes, std::string_view name, std::string_view expected) {
  const auto placeholder = recognise_placeholder(bytes);
  check(!placeholder, ErrorKind::kFormat, "{}: this is {}, not {}: {}", name, placeholder ? placeholder->what : "",
        expected, placeholder ? placeholder->remedy : "");
}

std::string beginning_of(std::span<const std::byte> bytes) {
  std::string_view line = text_of(bytes);
  line = line.substr(0, std::min(line.find_first_of("\r\n"), std::size_t{60}));
  const auto is_text = [](char c) { return c >= 0x20 && c < 0x7f; };
  if (line.size() >= 4 && std::all_of(line.begin(), line.end(), is_text)) return fmt::format("the text '{}'", line);
  return fmt::format("{:02x}", fmt::join(bytes.first(std::min<std::size_t>(8, bytes.size())), " "));
}

}  // namespace usol::io
