#pragma once
// The journal of a long job: FILE.journal beside its output, one line per finished input, appended and never changed.
// The output is assembled from it at the end, so a job that was killed at any moment goes on where it was.
// One writer, no locks, only appends: safe on network disks.

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace usol {

/// Lines: first {"usol_journal":1,"header":H}; then {"device":"..."} for each device that worked on it, and per input
/// {"index":I,"record":R} or {"index":I,"error":"..."}. The last line of an index counts.
class Journal {
 public:
  /// Starts a journal for the inputs [first, last). Throws Error(kIo) if the file exists or cannot be written.
  static Journal create(const std::filesystem::path& path, const nlohmann::ordered_json& header, std::int64_t first,
                        std::int64_t last);
  /// Continues one. A torn end (a line that a crash cut short) is dropped; `warn` is told if more than one line goes.
  /// Throws Error(kUsage) listing what differs if its header is not `header`, Error(kFormat) if it is no journal.
  static Journal resume(const std::filesystem::path& path, const nlohmann::ordered_json& header, std::int64_t first,
                        std::int64_t last, const std::function<void(const std::string&)>& warn);
  ~Journal();
  Journal(Journal&& other) noexcept;
  Journal& operator=(Journal&&) = delete;

  /// Appends a line (to the operating system at once, to the disk every few seconds). Throws Error(kIo), for example on
  /// a full disk; what was written of the line is taken back.
  void append_record(std::int64_t index, std::string_view record_json);
  void append_error(std::int64_t index, const std::string& message);
  /// Notes a device unless it is noted already.
  void append_device(const std::string& name);
  /// Everything appended is on the disk afterwards. Throws Error(kIo).
  void sync();

  bool has_record(std::int64_t index) const { return place(index).kind == Kind::kRecord; }
  bool has_error(std::int64_t index) const { return place(index).kind == Kind::kError; }
  std::int64_t records() const { return records_; }
  /// The line of an index that has one, read back from the file.
  std::string line(std::int64_t index) const;
  /// Copies the records of another journal that this one lacks, as far as they are of its inputs, and the devices.
  void take_over(const Journal& other);
  /// Devices that worked on it.
  const std::vector<std::string>& devices() const { return devices_; }
  const std::filesystem::path& path() const { return path_; }
  std::uint64_t bytes() const { return size_; }

 private:
  enum class Kind : std::uint8_t { kNone, kRecord, kError };
  struct Place {
    std::uint64_t offset : 62;
    Kind kind : 2;
  };

  Journal(std::filesystem::path path, int file, std::int64_t first, std::int64_t last);
  const Place& place(std::int64_t index) const { return places_[static_cast<std::size_t>(index - first_)]; }
  void append(std::string line);
  void note(std::int64_t index, Kind kind, std::uint64_t offset);
  void read_lines(const nlohmann::ordered_json& header, const std::function<void(const std::string&)>& warn);
  bool read_line(std::string_view line, std::uint64_t offset);

  std::filesystem::path path_;
  int file_ = -1;
  std::int64_t first_;
  std::vector<Place> places_;
  std::vector<std::string> devices_;
  std::int64_t records_ = 0;
  std::uint64_t size_ = 0;
  std::chrono::steady_clock::time_point synced_;
};

/// "a.b: was 1, is 2; ..." for every leaf that differs between two JSON values; empty if none does.
std::string describe_differences(const nlohmann::ordered_json& was, const nlohmann::ordered_json& is);

}  // namespace usol
