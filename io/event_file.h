#pragma once
// Event files for TensorBoard: figures and pictures by step, as records that carry their own checksums.
// Source: TensorFlow's record_writer (length, masked CRC-32C, bytes, masked CRC-32C) and the messages Event and Summary
// (event.proto, summary.proto), of which only the fields below are written.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace usol::io {

/// CRC-32C (Castagnoli) of bytes, as RFC 3720 has it.
std::uint32_t crc32c(std::string_view bytes);

/// One record of such a file.
struct EventRecord {
  struct Picture {
    std::int64_t height = 0, width = 0;
    std::string encoded;  // PNG or JPEG
  };
  double wall_time = 0;  // seconds since 1970
  std::int64_t step = 0;
  std::string file_version;  // "brain.Event:2", in the first record
  std::map<std::string, float> scalars;
  std::map<std::string, Picture> pictures;
};

/// All whole records of a file; what a crash cut short at the end is left out. Throws Error(kIo) if it cannot be read.
std::vector<EventRecord> read_events(const std::filesystem::path& path);

class EventFile {
 public:
  /// Appends to `path`, which is made if need be. Records of steps from `first` on, and one that a crash cut short, are
  /// taken out: those steps are made once more. Throws Error(kIo).
  EventFile(std::filesystem::path path, std::int64_t first);

  /// Throw Error(kIo), for example on a full disk.
  void add(std::int64_t step, const std::map<std::string, double>& scalars);
  void add_picture(std::int64_t step, const std::string& tag, std::int64_t height, std::int64_t width,
                   std::span<const std::byte> encoded);

 private:
  void append(const EventRecord& record) const;

  std::filesystem::path path_;
};

}  // namespace usol::io
