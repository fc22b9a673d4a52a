#include "usol/io/shared_bytes.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace usol::io {

SharedBytes SharedBytes::slice(std::size_t offset, std::size_t count) const {
  check(offset <= bytes.size() && count <= bytes.size() - offset, ErrorKind::kFormat,
        "{}: {} bytes at offset {} leave the file's {} bytes", name, count, offset, bytes.size());
  return {bytes.subspan(offset, count), owner, name};
}

SharedBytes map_file(const std::filesystem::path& path) {
  const std::string name = path.string();
  const FileDescriptor file = open_regular_file(path);
  struct stat status {};
  const bool known = ::fstat(file.get(), &status) == 0;
  check(known, ErrorKind::kIo, "{}: cannot stat: {}", name, std::strerror(errno));
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return own_bytes({}, name);
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0);
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

}  // namespace usol::io
