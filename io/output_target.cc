#include "usol/io/output_target.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <string_view>
#include <system_error>

#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::io {
namespace {

constexpr int kMostLinks = 40;

}  // namespace

int own_descriptor(const fs::path& path) {
  const std::string text = path.lexically_normal().string();
  for (const auto& [name, number] : {std::pair{"/dev/stdin", 0}, {"/dev/stdout", 1}, {"/dev/stderr", 2}})
    if (text == name) return number;
  const std::string own = fmt::format("/proc/{}/fd/", ::getpid());
  for (const std::string& folder :
       {std::string("/dev/fd/"), std::string("/proc/self/fd/"), std::string("/proc/thread-self/fd/"), own}) {
    if (!text.starts_with(folder)) continue;
    int number = -1;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data() + folder.size(), last, number);
    if (error == std::errc() && end == last && number >= 0) return number;
  }
  return -1;
}

OutputTarget output_target(const fs::path& path) {
  OutputTarget target;
  target.path = path;
  for (int links = 0;; ++links) {
    check(links <= kMostLinks, ErrorKind::kIo, "{}: its links lead round in circles", path.string());
    target.descriptor = own_descriptor(target.path);
    if (target.descriptor >= 0) {
      target.kind = OutputTarget::Kind::kStream;
      return target;
    }
    std::error_code error;
    const fs::file_status status = fs::symlink_status(target.path, error);
    if (status.type() == fs::file_type::not_found) return target;
    check(!error, ErrorKind::kIo, "{}: cannot be looked at: {}", target.path.string(), error.message());
    if (status.type() != fs::file_type::symlink) {
      target.kind = fs::is_directory(status)      ? OutputTarget::Kind::kFolder
                    : fs::is_regular_file(status) ? OutputTarget::Kind::kFile
                                                  : OutputTarget::Kind::kStream;
      return target;
    }
    const fs::path next = fs::read_symlink(target.path, error);
    check(!error, ErrorKind::kIo, "{}: cannot be looked at: {}", target.path.string(), error.message());
    // The folder's own links count first: "..", in a link, is the real folder's.
    const fs::path folder = resolved_path(target.path.has_parent_path() ? target.path.parent_path() : ".");
    if (const fs::path own = folder / target.path.filename(); own_descriptor(own) >= 0) {
      target.path = own;  // a descriptor by another way to its folder; what it shows as its link need not be a path
    } else {
      target.path = folder / next;
    }
  }
}

std::optional<FileIdentity> file_identity(const fs::path& path) {
  struct stat status {};
  const int own = own_descriptor(path);
  if ((own >= 0 ? ::fstat(own, &status) : ::stat(path.c_str(), &status)) != 0) return std::nullopt;
  return FileIdentity{status.st_dev, status.st_ino};
}

fs::path resolved_path(const fs::path& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  fs::path resolved = fs::weakly_canonical(error ? path : absolute, error);
  return error ? absolute.lexically_normal() : resolved;
}

}  // namespace usol::io
