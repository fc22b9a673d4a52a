#pragma once
// SharedBytes: the bytes of a file (memory-mapped) or of a buffer, kept alive by whoever still uses them.
// Readers of weights and arrays take one, so that tensors can point straight into the mapping.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace usol::io {

struct SharedBytes {
  std::span<std::byte> bytes;         // writable, but private: writing changes no file
  std::shared_ptr<const void> owner;  // keeps `bytes` valid
  std::string name;                   // the file's path (or what the buffer is called), for error texts

  std::size_t size() const { return bytes.size(); }
  /// `count` bytes from `offset`, with the same owner. Throws Error(kFormat) if they leave the range.
  SharedBytes slice(std::size_t offset, std::size_t count) const;
};

/// Maps a regular file, copy on write. Throws Error(kIo) naming the path if it cannot be opened or is no regular file.
/// The file must not be shortened while it is mapped (our own writers replace files, they never rewrite them).
SharedBytes map_file(const std::filesystem::path& path);
/// Fresh, uninitialised bytes.
SharedBytes new_bytes(std::size_t size, std::string name);
/// Takes a buffer over.
SharedBytes own_bytes(std::vector<std::byte> buffer, std::string name);

}  // namespace usol::io
