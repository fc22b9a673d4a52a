#include "usol/io/text_lines.h"

#include <array>
#include <cerrno>
#include <cstring>

#include "usol/tensor/check.h"

namespace usol {

void check_is_no_utf16(std::string_view first_bytes, const std::string& name) {
  const std::string_view start = first_bytes.substr(0, 4);
  const bool marked = start.starts_with("\xff\xfe") || start.starts_with("\xfe\xff");
  // Without a mark, the other byte of each of the first letters is 0.
  const bool unmarked = start.size() >= 2 && start.substr(0, 2).find('\0') != std::string_view::npos;
  check(!marked && !unmarked, ErrorKind::kFormat,
        "{}: expected UTF-8 text, got UTF-16 or UTF-32; convert it (iconv -f "
        "UTF-16 -t UTF-8)",
        name);
}

TextLines::TextLines(const std::filesystem::path& path) : file_(path, std::ios::binary) {
  check(file_.good(), ErrorKind::kIo, "{}: cannot be read: {}", path.string(), std::strerror(errno));
  std::array<char, 4> start{};
  file_.read(start.data(), start.size());
  const std::string_view bytes(start.data(), static_cast<std::size_t>(file_.gcount()));
  check_is_no_utf16(bytes, path.string());
  file_.clear();
  file_.seekg(bytes.starts_with(kByteOrderMark) ? static_cast<std::streamoff>(kByteOrderMark.size()) : 0);
}

bool TextLines::next(std::string& line) {
  if (!std::getline(file_, line)) return false;
  ++number_;
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

}  // namespace usol
