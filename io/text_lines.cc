#include "usol/io/text_lines.h"

#include <utility>

#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace usol::io {

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

TextLines::TextLines(const std::filesystem::path& path) {
  std::string text = read_text_file(path);
  check_is_no_utf16(text, path.string());
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  text_.str(std::move(text));
}

bool TextLines::next(std::string& line) {
  if (!std::getline(text_, line)) return false;
  ++number_;
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

}  // namespace usol::io
