#pragma once
// Where an output really goes: behind all links, into a file or into what is no file (a pipe, a device, an open
// descriptor of this process). And which of two names are one file.

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace usol::io {

struct OutputTarget {
  enum class Kind {
    kNew,     // nothing is there
    kFile,    // a regular file
    kFolder,  // a folder
    kStream,  // a pipe, a device or a descriptor: is written to, never replaced or removed
  };
  Kind kind = Kind::kNew;
  std::filesystem::path path;  // the place itself, behind all links
  int descriptor = -1;         // the own descriptor that was named, else -1

  bool is_stream() const { return kind == Kind::kStream; }
};

/// The number in /dev/stdout, /dev/stderr, /dev/fd/N, /proc/self/fd/N and their kin; -1 for another name.
int own_descriptor(const std::filesystem::path& path);
/// Follows links, also those whose target does not exist. Throws Error(kIo) if links go round in circles or a folder on
/// the way cannot be entered.
OutputTarget output_target(const std::filesystem::path& path);

/// What makes a file itself, whatever it is called.
using FileIdentity = std::pair<dev_t, ino_t>;
/// Of what the path leads to; nothing if that does not exist.
std::optional<FileIdentity> file_identity(const std::filesystem::path& path);
/// The path without links and "..", also where its end does not exist yet: equal for two names of one place.
std::filesystem::path resolved_path(const std::filesystem::path& path);

}  // namespace usol::io
