#include "usol/io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include "usol/tensor/check.h"

namespace usol {
namespace {

/// fsync of whatever is at `path` now.
bool sync(const std::filesystem::path& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0) return false;
  const bool done = ::fsync(fd) == 0;
  const int error = errno;
  ::close(fd);
  errno = error;
  return done;
}

}  // namespace

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  check(!std::filesystem::is_directory(status), ErrorKind::kIo, "{}: cannot write: it is a folder", path.string());
  const bool direct = std::filesystem::exists(status) && !std::filesystem::is_regular_file(status);
  int fd = -1;
  if (direct) {
    fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    // The counter goes on while names are taken, by another process or by a crashed one's leftovers.
    static std::atomic<unsigned> counter{0};
    do {
      const unsigned number = counter.fetch_add(1, std::memory_order_relaxed);
      temporary_ = path.parent_path() / fmt::format(".{}.{}-{}.tmp", path.filename().string(), ::getpid(), number);
      fd = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EEXIST);
  }
  check(fd >= 0, ErrorKind::kIo, "{}: cannot write: {}", path.string(), std::strerror(errno));
  file_ = ::fdopen(fd, "wb");
  if (file_ == nullptr) {
    const std::string reason = std::strerror(errno);
    ::close(fd);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    fail(ErrorKind::kIo, fmt::format("{}: cannot write: {}", path.string(), reason));
  }
}

AtomicFile::~AtomicFile() {
  if (file_ != nullptr) std::fclose(file_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  check(file_ != nullptr, "{}: written after commit", path_.string());
  const bool written =
      std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size();  // first: errno is an argument
  check(written, ErrorKind::kIo, "{}: cannot write: {}", path_.string(), std::strerror(errno));
  size_ += bytes.size();
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  check(file_ != nullptr, "{}: committed twice", path_.string());
  const bool closed = std::fclose(file_) == 0;
  file_ = nullptr;
  check(closed, ErrorKind::kIo, "{}: cannot write: {}", path_.string(), std::strerror(errno));
  // Pipes and terminals cannot be synced; a direct write makes no promise of durability.
  if (temporary_.empty()) return;
  const bool synced = sync(temporary_, O_RDONLY);
  check(synced, ErrorKind::kIo, "{}: cannot write: {}", path_.string(), std::strerror(errno));
  const bool renamed = ::rename(temporary_.c_str(), path_.c_str()) == 0;
  check(renamed, ErrorKind::kIo, "{}: cannot rename {} to it: {}", path_.string(), temporary_.string(),
        std::strerror(errno));
  temporary_.clear();
  // The new name is durable once the folder is synced. Not every file system allows that; the file is whole either way.
  const auto folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  static_cast<void>(sync(folder, O_RDONLY | O_DIRECTORY));
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace usol
