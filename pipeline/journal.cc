#include "usol/pipeline/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "usol/io/json_text.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr std::chrono::seconds kSyncEvery(3);
constexpr std::string_view kStart = "{\"usol_journal\":1,";

[[noreturn]] void fail_io(const fs::path& path, const char* what) {
  fail(ErrorKind::kIo, fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)));
}

// The name in a folder is durable only when the folder is synced; not every file system can.
void sync_folder(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  const int file = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  static_cast<void>(fsync(file));
  close(file);
}

}  // namespace

std::string describe_differences(const Json& was, const Json& is) {
  const Json a = was.flatten(), b = is.flatten();
  std::set<std::string> keys;
  for (const auto& item : a.items()) keys.insert(item.key());
  for (const auto& item : b.items()) keys.insert(item.key());
  std::string text;
  for (const auto& key : keys) {
    const std::string left = a.contains(key) ? io::json_text(a[key]) : "absent",
                      right = b.contains(key) ? io::json_text(b[key]) : "absent";
    if (left == right) continue;
    std::string name = key.empty() ? key : key.substr(1);
    std::replace(name.begin(), name.end(), '/', '.');
    text += fmt::format("{}{}: was {}, is {}", text.empty() ? "" : "; ", name, left, right);
  }
  return text;
}

Journal::Journal(fs::path path, int file, std::int64_t first, std::int64_t last)
    : path_(std::move(path)),
      file_(file),
      first_(first),
      places_(static_cast<std::size_t>(last - first), Place{0, Kind::kNone}),
      synced_(std::chrono::steady_clock::now()) {}

Journal::Journal(Journal&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, -1)),
      first_(other.first_),
      places_(std::move(other.places_)),
      devices_(std::move(other.devices_)),
      records_(other.records_),
      size_(other.size_),
      synced_(other.synced_) {}

Journal::~Journal() {
  if (file_ >= 0) close(file_);
}

Journal Journal::create(const fs::path& path, const Json& header, std::int64_t first, std::int64_t last) {
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0) fail_io(path, "cannot be made");
  Journal journal(path, file, first, last);
  journal.append(fmt::format("{}\"header\":{}}}", kStart, io::json_text(header)));
  journal.sync();
  sync_folder(path);
  return journal;
}

Journal Journal::resume(const fs::path& path, const Json& header, std::int64_t first, std::int64_t last,
                        const std::function<void(const std::string&)>& warn) {
  const int file = open(path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC);
  if (file < 0) fail_io(path, "cannot be opened");
  Journal journal(path, file, first, last);
  journal.read_lines(header, warn);
  return journal;
}

void Journal::read_lines(const Json& header, const std::function<void(const std::string&)>& warn) {
  struct stat status {};
  if (fstat(file_, &status) != 0) fail_io(path_, "cannot be read");
  const auto total = static_cast<std::uint64_t>(status.st_size);
  std::string buffer;
  std::uint64_t read_to = 0, line_start = 0;  // file offsets: end of buffer, start of its first line
  bool good = true, has_header = false;
  while (good && read_to < total) {
    char block[1 << 18];
    const ssize_t n = pread(file_, block, sizeof block, static_cast<off_t>(read_to));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io(path_, "cannot be read");
    if (n == 0) break;
    const std::size_t searched = buffer.size();
    buffer.append(block, static_cast<std::size_t>(n));
    read_to += static_cast<std::uint64_t>(n);
    std::size_t start = 0;
    for (auto end = buffer.find('\n', searched); good && end != std::string::npos; end = buffer.find('\n', start)) {
      const std::string_view line = std::string_view(buffer).substr(start, end - start);
      if (!has_header) {
        const Json first_line = Json::parse(line, nullptr, false);
        check(line.starts_with(kStart) && !first_line.is_discarded() && first_line.contains("header"),
              ErrorKind::kFormat, "{}: is not a journal of usol", path_.string());
        const std::string changed = describe_differences(first_line["header"], header);
        check(changed.empty(), ErrorKind::kOtherSettings, "{} was started with other settings ({})", path_.string(),
              changed);
        has_header = true;
      } else if (!read_line(line, line_start)) {
        good = false;
        break;
      }
      start = end + 1;
      line_start += line.size() + 1;
    }
    buffer.erase(0, start);
  }
  size_ = line_start;
  if (size_ < total) {
    // What follows the last whole line is dropped; the inputs it held are done again.
    if (!good) {
      warn(fmt::format("{}: damaged after byte {}: the last {} bytes are dropped and their inputs done again",
                       path_.string(), size_, total - size_));
    }
    if (ftruncate(file_, static_cast<off_t>(size_)) != 0) fail_io(path_, "cannot be cut");
  }
  if (has_header) return;
  append(fmt::format("{}\"header\":{}}}", kStart, io::json_text(header)));  // killed while writing the very first line
  sync();
}

// False if the line is not one that append() wrote whole. Records are parsed when they are used.
bool Journal::read_line(std::string_view line, std::uint64_t offset) {
  constexpr std::string_view kDevice = "{\"device\":", kIndex = "{\"index\":", kRecord = ",\"record\":",
                             kError = ",\"error\":";
  if (!line.ends_with('}') || line.find('\0') != std::string_view::npos) return false;
  if (line.starts_with(kDevice)) {
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded() || !json["device"].is_string()) return false;
    devices_.push_back(json["device"]);
    return true;
  }
  if (!line.starts_with(kIndex)) return false;
  std::int64_t index = -1;
  const auto [end, error] = std::from_chars(line.data() + kIndex.size(), line.data() + line.size(), index);
  const auto rest = line.substr(static_cast<std::size_t>(end - line.data()));
  const auto last = first_ + static_cast<std::int64_t>(places_.size());
  if (error != std::errc() || index < first_ || index >= last) return false;
  if (!rest.starts_with(kRecord) && !rest.starts_with(kError)) return false;
  note(index, rest.starts_with(kRecord) ? Kind::kRecord : Kind::kError, offset);
  return true;
}

void Journal::note(std::int64_t index, Kind kind, std::uint64_t offset) {
  Place& place = places_[static_cast<std::size_t>(index - first_)];
  records_ += (kind == Kind::kRecord) - (place.kind == Kind::kRecord);
  place.offset = offset;
  place.kind = kind;
}

void Journal::append(std::string line) {
  line += '\n';
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t n = write(file_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int error = n < 0 ? errno : ENOSPC;
      static_cast<void>(ftruncate(file_, static_cast<off_t>(size_)));
      errno = error;
      fail_io(path_, "cannot be written (what it holds is safe; make room and go on)");
    }
    done += static_cast<std::size_t>(n);
  }
  size_ += line.size();
  if (std::chrono::steady_clock::now() - synced_ > kSyncEvery) sync();
}

void Journal::append_record(std::int64_t index, std::string_view record_json) {
  const auto offset = size_;
  append(fmt::format("{{\"index\":{},\"record\":{}}}", index, record_json));
  note(index, Kind::kRecord, offset);
}

void Journal::append_error(std::int64_t index, const std::string& message) {
  const auto offset = size_;
  append(fmt::format("{{\"index\":{},\"error\":{}}}", index, io::json_text(message)));
  note(index, Kind::kError, offset);
}

void Journal::append_device(const std::string& name) {
  if (std::find(devices_.begin(), devices_.end(), name) != devices_.end()) return;
  append(fmt::format("{{\"device\":{}}}", io::json_text(name)));
  devices_.push_back(name);
}

void Journal::sync() {
  if (fdatasync(file_) != 0 && errno != EINVAL && errno != EROFS) fail_io(path_, "cannot be synced to disk");
  synced_ = std::chrono::steady_clock::now();
}

std::string Journal::line(std::int64_t index) const {
  const Place& where = place(index);
  check(where.kind != Kind::kNone, "journal: nothing is recorded for input {}", index);
  std::string text;
  for (std::uint64_t offset = where.offset;;) {
    char block[1 << 14];
    const ssize_t n = pread(file_, block, sizeof block, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail_io(path_, "cannot be read");
    const auto* end = static_cast<const char*>(std::memchr(block, '\n', static_cast<std::size_t>(n)));
    text.append(block, end != nullptr ? static_cast<std::size_t>(end - block) : static_cast<std::size_t>(n));
    if (end != nullptr) return text;
    offset += static_cast<std::uint64_t>(n);
  }
}

void Journal::take_over(const Journal& other) {
  for (const std::string& device : other.devices_) append_device(device);
  const auto end = [](const Journal& journal) {
    return journal.first_ + static_cast<std::int64_t>(journal.places_.size());
  };
  for (std::int64_t i = std::max(first_, other.first_); i < std::min(end(*this), end(other)); ++i) {
    if (has_record(i) || !other.has_record(i)) continue;
    const auto offset = size_;
    append(other.line(i));
    note(i, Kind::kRecord, offset);
  }
}

}  // namespace usol
