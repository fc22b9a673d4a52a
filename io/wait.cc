#include "usol/io/wait.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include "usol/io/output_target.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

constexpr int kAskEveryMs = 100;

// Set once by the program; signals are a matter of the whole process.
std::atomic<bool (*)()> g_stop_asked{nullptr};

void throw_if_asked_to_stop(const std::string& name) {
  const auto asked = g_stop_asked.load();
  check(asked == nullptr || !asked(), ErrorKind::kInterrupted, "{}: stopped by a signal while waiting for it", name);
}

// Until the descriptor can be written to (POLLOUT) or read from (POLLIN), or its other end is gone.
void wait_for(int descriptor, short events, const std::string& name) {
  for (;;) {
    pollfd entry{descriptor, events, 0};
    const int ready = ::poll(&entry, 1, kAskEveryMs);
    if (ready > 0) return;
    check(ready == 0 || errno == EINTR, ErrorKind::kIo, "{}: cannot be waited for: {}", name, std::strerror(errno));
    throw_if_asked_to_stop(name);  // not before: what can be done at once is still done
  }
}

struct stat stat_of(int descriptor, const std::string& name) {
  struct stat status {};
  const bool known = ::fstat(descriptor, &status) == 0;
  check(known, ErrorKind::kIo, "{}: cannot stat: {}", name, std::strerror(errno));
  return status;
}

// For reading text: a descriptor of this process is copied, which keeps what was read from it so far.
FileDescriptor open_for_reading(const std::filesystem::path& path, const std::string& name) {
  const int own = own_descriptor(path);
  const int number =
      own >= 0 ? ::fcntl(own, F_DUPFD_CLOEXEC, 0) : ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  check(number >= 0, ErrorKind::kIo, "{}: cannot be opened: {}", name, std::strerror(errno));
  return FileDescriptor(number);
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (number_ >= 0) ::close(number_);
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

int FileDescriptor::release() { return std::exchange(number_, -1); }

void set_stop_check(bool (*asked)()) { g_stop_asked = asked; }

void throw_if_stop_asked() {
  const auto asked = g_stop_asked.load();
  check(asked == nullptr || !asked(), ErrorKind::kInterrupted, "stopped by a signal");
}

FileDescriptor open_stream_for_writing(const std::filesystem::path& path) {
  const std::string name = path.string();
  for (;;) {
    // Without O_NONBLOCK the open of a pipe that nobody reads would wait where no stop is asked for.
    const int number = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (number >= 0) {
      ::fcntl(number, F_SETFL, ::fcntl(number, F_GETFL) & ~O_NONBLOCK);
      return FileDescriptor(number);
    }
    check(errno == ENXIO || errno == EINTR, ErrorKind::kIo, "{}: cannot write: {}", name, std::strerror(errno));
    struct stat status {};
    const bool is_pipe = ::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
    check(is_pipe, ErrorKind::kIo, "{}: cannot write: it is {}", name, kind_of_file(status.st_mode));
    throw_if_asked_to_stop(name);
    ::poll(nullptr, 0, kAskEveryMs);
  }
}

void write_all(int descriptor, std::span<const std::byte> bytes, const std::string& name) {
  const bool can_wait = !S_ISREG(stat_of(descriptor, name).st_mode);
  while (!bytes.empty()) {
    // A pipe that has room for something has room for PIPE_BUF bytes: then the write does not wait.
    const std::size_t most = can_wait ? PIPE_BUF : bytes.size();
    if (can_wait) wait_for(descriptor, POLLOUT, name);
    const ssize_t written = ::write(descriptor, bytes.data(), std::min(most, bytes.size()));
    if (written < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    check(written > 0, ErrorKind::kIo, "{}: cannot write: {}", name, std::strerror(written < 0 ? errno : ENOSPC));
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

FileDescriptor open_regular_file(const std::filesystem::path& path) {
  const std::string name = path.string();
  const auto check_kind = [&](const struct stat& status) {
    check(S_ISREG(status.st_mode), ErrorKind::kIo, "{}: expected a regular file, got {}", name,
          kind_of_file(status.st_mode));
  };
  // Looked at before: opening a device can already do something.
  struct stat status {};
  const bool known = ::stat(path.c_str(), &status) == 0;
  check(known, ErrorKind::kIo, "{}: cannot open: {}", name, std::strerror(errno));
  check_kind(status);
  FileDescriptor file;
  while ((file = FileDescriptor(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC))).get() < 0 &&
         (errno == EWOULDBLOCK || errno == EINTR)) {
    // Another process has a lease on the file (a file server, say) and must give it back first.
    throw_if_asked_to_stop(name);
    ::poll(nullptr, 0, kAskEveryMs);
  }
  check(file.get() >= 0, ErrorKind::kIo, "{}: cannot open: {}", name, std::strerror(errno));
  check_kind(stat_of(file.get(), name));
  return file;
}

std::string read_text_file(const std::filesystem::path& path) {
  const std::string name = path.string();
  const FileDescriptor file = open_for_reading(path, name);
  const auto mode = stat_of(file.get(), name).st_mode;
  check(!S_ISDIR(mode), ErrorKind::kIo, "{}: expected a file, got a folder", name);
  std::string text;
  std::array<char, 1 << 16> block;
  for (;;) {
    if (!S_ISREG(mode)) wait_for(file.get(), POLLIN, name);
    const ssize_t n = ::read(file.get(), block.data(), block.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    check(n >= 0, ErrorKind::kIo, "{}: cannot be read: {}", name, std::strerror(errno));
    if (n == 0) return text;
    text.append(block.data(), static_cast<std::size_t>(n));
  }
}

std::string_view kind_of_file(unsigned mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "a regular file";
    case S_IFDIR:
      return "a folder";
    case S_IFIFO:
      return "a named pipe";
    case S_IFSOCK:
      return "a socket";
    case S_IFCHR:
    case S_IFBLK:
      return "a device";
    default:
      return "something else";
  }
}

}  // namespace usol::io
