#pragma once
// Text files from anywhere, line by line: lists of pictures, of images to keep. Also the one place that knows how text
// in another encoding looks.

#include <cstdint>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>

namespace usol::io {

/// The bytes of a UTF-8 byte order mark, which Windows programs put before text and which is no part of it.
inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

/// Throws Error(kFormat) naming the file if its first bytes are those of UTF-16 or UTF-32 text.
void check_is_no_utf16(std::string_view first_bytes, const std::string& name);

/// The lines of a file or a pipe, without their ends (\n or \r\n) and without a byte order mark.
class TextLines {
 public:
  /// Throws Error(kIo) if the file cannot be read, Error(kInterrupted) as read_text_file(), and Error(kFormat) for
  /// UTF-16 text.
  explicit TextLines(const std::filesystem::path& path);
  /// False at the end.
  bool next(std::string& line);
  /// Of the last line, from 1.
  std::int64_t number() const { return number_; }

 private:
  std::istringstream text_;
  std::int64_t number_ = 0;
};

}  // namespace usol::io
