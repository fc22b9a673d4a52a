#include "usol/io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

#include "usol/io/output_target.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

constexpr std::size_t kLongestName = 255;  // bytes, of all usual file systems
constexpr std::size_t kBufferBytes = std::size_t{1} << 16;

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

// "NAME" of ".NAME.PID-NUMBER.tmp"; empty for another name.
std::string_view base_of_temporary(std::string_view name) {
  constexpr std::string_view kEnd = ".tmp";
  if (!name.starts_with('.') || !name.ends_with(kEnd)) return {};
  name.remove_suffix(kEnd.size());
  const auto take_digits = [&] {
    const std::size_t before = name.size();
    while (!name.empty() && name.back() >= '0' && name.back() <= '9') name.remove_suffix(1);
    return name.size() < before;
  };
  const auto take = [&](char c) {
    if (!name.ends_with(c)) return false;
    name.remove_suffix(1);
    return true;
  };
  return take_digits() && take('-') && take_digits() && take('.') && name.size() > 1 ? name.substr(1)
                                                                                     : std::string_view{};
}

}  // namespace

bool is_temporary_name(std::string_view name) { return !base_of_temporary(name).empty(); }

void remove_temporaries_of(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  std::vector<std::filesystem::path> leftovers;
  std::error_code ignored;
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  for (std::filesystem::directory_iterator it(folder, ignored), end; it != end && !ignored; it.increment(ignored)) {
    const std::string temporary = it->path().filename().string();
    const std::string_view base = base_of_temporary(temporary);
    // A long name was cut.
    if (base == name || (!base.empty() && temporary.size() > kLongestName - 4 && name.starts_with(base)))
      leftovers.push_back(it->path());
  }
  for (const auto& leftover : leftovers) std::filesystem::remove(leftover, ignored);
}

std::string hidden_name(std::string name, std::string_view end) {
  const std::size_t room = kLongestName - 1 - std::min(end.size(), kLongestName - 1);
  if (name.size() > room) {
    const auto continues = [&](std::size_t at) { return (static_cast<unsigned char>(name[at]) & 0xC0U) == 0x80U; };
    std::size_t kept = room;
    while (kept > 0 && continues(kept)) --kept;
    name.resize(kept);
  }
  return fmt::format(".{}{}", name, end);
}

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  const OutputTarget target = output_target(path);
  check(target.kind != OutputTarget::Kind::kFolder, ErrorKind::kIo, "{}: cannot write: it is a folder", path.string());
  int fd = -1;
  if (target.is_stream()) {
    // A copy of the descriptor has its position: "/dev/stdout" after what the shell's ">>" kept.
    fd = target.descriptor >= 0 ? ::fcntl(target.descriptor, F_DUPFD_CLOEXEC, 0)
                                : open_stream_for_writing(target.path).release();
  } else {
    place_ = target.path;
    // The counter goes on while names are taken, by another process or by a crashed one's leftovers.
    static std::atomic<unsigned> counter{0};
    do {
      const unsigned number = counter.fetch_add(1, std::memory_order_relaxed);
      temporary_ =
          place_.parent_path() / hidden_name(place_.filename().string(), fmt::format(".{}-{}.tmp", ::getpid(), number));
      fd = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EEXIST);
  }
  if (fd < 0) temporary_.clear();
  check(fd >= 0, ErrorKind::kIo, "{}: cannot write: {}", path.string(), std::strerror(errno));
  file_ = FileDescriptor(fd);
  open_ = true;
  buffer_.reserve(kBufferBytes);
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  check(open_, "{}: written after commit", path_.string());
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() > kBufferBytes) {
    write_all(file_.get(), bytes, path_.string());
  } else {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  size_ += bytes.size();
}

void AtomicFile::flush() {
  write_all(file_.get(), buffer_, path_.string());
  buffer_.clear();
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  check(open_, "{}: committed twice", path_.string());
  open_ = false;
  flush();
  const bool closed = ::close(file_.release()) == 0 || errno == EINTR;
  check(closed, ErrorKind::kIo, "{}: cannot write: {}", path_.string(), std::strerror(errno));
  // Pipes and terminals cannot be synced; a direct write makes no promise of durability.
  if (temporary_.empty()) return;
  const bool synced = sync(temporary_, O_RDONLY);
  check(synced, ErrorKind::kIo, "{}: cannot write: {}", path_.string(), std::strerror(errno));
  const bool renamed = ::rename(temporary_.c_str(), place_.c_str()) == 0;
  check(renamed, ErrorKind::kIo, "{}: cannot rename {} to it: {}", path_.string(), temporary_.string(),
        std::strerror(errno));
  temporary_.clear();
  // The new name is durable once the folder is synced. Not every file system allows that; the file is whole either way.
  const auto folder = place_.has_parent_path() ? place_.parent_path() : std::filesystem::path(".");
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

}  // namespace usol::io
