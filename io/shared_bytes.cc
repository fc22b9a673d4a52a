#include "usol/io/shared_bytes.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "usol/tensor/check.h"

namespace usol {

SharedBytes SharedBytes::slice(std::size_t offset, std::size_t count) const {
  check(offset <= bytes.size() && count <= bytes.size() - offset, ErrorKind::kFormat,
        "{}: {} bytes at offset {} leave the file's {} bytes", name, count, offset, bytes.size());
  return {bytes.subspan(offset, count), owner, name};
}

SharedBytes map_file(const std::filesystem::path& path) {
  const std::string name = path.string();
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  check(fd >= 0, ErrorKind::kIo, "{}: cannot open: {}", name, std::strerror(errno));
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } closer{fd};
  struct stat status {};
  const bool known = ::fstat(fd, &status) == 0;
  check(known, ErrorKind::kIo, "{}: cannot stat: {}", name, std::strerror(errno));
  check(S_ISREG(status.st_mode), ErrorKind::kIo, "{}: expected a regular file, got {}", name,
        S_ISDIR(status.st_mode) ? "a folder" : "something else");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return own_bytes({}, name);
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  check(data != MAP_FAILED, ErrorKind::kIo, "{}: cannot map {} bytes: {}", name, size, std::strerror(errno));
  std::shared_ptr<const void> owner(data, [size](void* p) { ::munmap(p, size); });
  return {{static_cast<std::byte*>(data), size}, std::move(owner), name};
}

SharedBytes new_bytes(std::size_t size, std::string name) {
  const std::shared_ptr<std::byte[]> owner(new std::byte[size]);
  return {{owner.get(), size}, owner, std::move(name)};
}

SharedBytes own_bytes(std::vector<std::byte> buffer, std::string name) {
  auto owner = std::make_shared<std::vector<std::byte>>(std::move(buffer));
  const std::span<std::byte> bytes(*owner);
  return {bytes, std::move(owner), std::move(name)};
}

}  // namespace usol
