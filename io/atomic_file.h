#pragma once
// AtomicFile: how every writer of this library puts a file in place. A reader sees the old file or the whole new one.

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "usol/io/wait.h"

namespace usol::io {

/// Writes to a temporary file beside `path`; commit() flushes it to the disk and renames it over `path`.
/// Without commit() (an exception, say) the temporary file is removed and `path` stays as it was.
/// Links are written through: the file they lead to is replaced, the link stays. What is no regular file (/dev/stdout,
/// a pipe, a device; io/output_target.h) is written directly and never replaced.
class AtomicFile {
 public:
  /// Throws Error(kIo) naming the path if the temporary file cannot be made; Error(kInterrupted) if a stop is asked for
  /// while a pipe has no reader (io/wait.h), as write() and commit() do.
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
  void flush();

  std::filesystem::path path_;               // as given
  std::filesystem::path place_, temporary_;  // behind all links; both are empty for a direct write
  FileDescriptor file_;
  std::vector<std::byte> buffer_;
  bool open_ = false;  // commit() has not been called
  std::size_t size_ = 0;
};

/// True for the name of a temporary file of this class, which a process that was killed leaves behind.
bool is_temporary_name(std::string_view name);

/// Removes the temporary files that killed processes left of the file `path`, which nobody may be writing now.
void remove_temporaries_of(const std::filesystem::path& path);

/// "." + name + end, for a file beside `name`. Where that is longer than file names may be (255 bytes) the name is cut,
/// between two characters of UTF-8.
std::string hidden_name(std::string name, std::string_view end);

/// A whole file in one call.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file(const std::filesystem::path& path, std::string_view text);

}  // namespace usol::io
