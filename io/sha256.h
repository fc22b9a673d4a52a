#pragma once
// SHA-256 of files and streams: names the exact weights in every result's provenance.

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace usol::io {

/// A running hash, for data that comes in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::span<const std::byte> bytes);
  /// 64 lower-case hex digits. Call once, last.
  std::string finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// Hex digest of a buffer.
std::string sha256_hex(std::span<const std::byte> bytes);
/// Hex digest of a file, read in pieces. Throws Error(kIo) naming the path.
std::string sha256_file(const std::filesystem::path& path);

}  // namespace usol::io
