#pragma once
// AtomicFile: how every writer of this library puts a file in place. A reader sees the old file or the whole new one.

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string_view>

namespace usol {

/// Writes to a temporary file beside `path`; commit() flushes it to the disk and renames it over `path`.
/// Without commit() (an exception, say) the temporary file is removed and `path` stays as it was.
/// If `path` exists and is no regular file (/dev/stdout, a pipe), it is written directly.
class AtomicFile {
 public:
  /// Throws Error(kIo) naming the path if the temporary file cannot be made.
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends (buffered). Throws Error(kIo), for example on a full disk.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Bytes written so far.
  std::size_t size() const { return size_; }
  /// The temporary file, for libraries that write by path. They may replace the file there before commit(); then
  /// write() must not be used. Empty for a direct write.
  const std::filesystem::path& temporary() const { return temporary_; }
  /// Puts the file in place. Call once, last. Throws Error(kIo).
  void commit();

 private:
  std::filesystem::path path_, temporary_;  // temporary_ is empty for a direct write
  std::FILE* file_ = nullptr;
  std::size_t size_ = 0;
};

/// A whole file in one call.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace usol
