#include "usol/io/append_text.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <span>

#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace usol::io {

void append_text(const std::filesystem::path& path, std::string_view text) {
  const FileDescriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  check(file.get() >= 0, ErrorKind::kIo, "{}: cannot write: {}", path.string(), std::strerror(errno));
  write_all(file.get(), std::as_bytes(std::span(text)), path.string());
}

}  // namespace usol::io
