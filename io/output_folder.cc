#include "usol/io/output_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <system_error>

#include "usol/io/atomic_file.h"
#include "usol/io/origin.h"
#include "usol/io/output_target.h"
#include "usol/io/shared_bytes.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::io {
namespace {

constexpr std::string_view kManifest = ".usol-files", kHeader = "files written by usol 1\n";
constexpr std::uintmax_t kUnknown = std::numeric_limits<std::uintmax_t>::max();

// A line is "SIZE NAME;" or, before the file is there, "? NAME;". The ';' shows that it is whole; names have none.
std::string escaped(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '%' || c == ';' || c == '\n') {
      out += fmt::format("%{:02X}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, code, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(code);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

bool is_manifest_name(std::string_view name) {
  return name == kManifest || (name.starts_with(kManifest) && name[kManifest.size()] == '.');
}

WrittenFiles::WrittenFiles(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; it != end && !error; it.increment(error))
    if (is_manifest_name(it->path().filename().string())) read(it->path());
}

void WrittenFiles::read(const fs::path& manifest) {
  const SharedBytes file = map_file(manifest);
  std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
  if (kHeader.starts_with(text)) return;  // killed while it was begun
  check(text.starts_with(kHeader), ErrorKind::kFormat,
        "{}: expected usol's list of the files it wrote, got another file", manifest.string());
  for (text.remove_prefix(kHeader.size()); !text.empty();) {
    const std::size_t line_end = text.find('\n');
    std::string_view line = text.substr(0, line_end);
    text.remove_prefix(line_end == std::string_view::npos ? text.size() : line_end + 1);
    const std::size_t space = line.find(' ');
    if (!line.ends_with(';') || space == std::string_view::npos) continue;
    std::uintmax_t size = kUnknown;
    const char* number_end = line.data() + space;
    if (line[0] != '?' && std::from_chars(line.data(), number_end, size).ptr != number_end) continue;
    line.remove_suffix(1);
    sizes_[unescaped(line.substr(space + 1))] = size;
  }
}

bool WrittenFiles::lists(const std::string& name, std::uintmax_t size) const {
  const auto found = sizes_.find(name);
  return found != sizes_.end() && (found->second == size || found->second == kUnknown);
}

bool WrittenFiles::lists_unfinished(const std::string& name) const {
  const auto found = sizes_.find(name);
  return found != sizes_.end() && found->second == kUnknown;
}

OutputFolder::OutputFolder(fs::path folder, const std::string& part)
    : folder_(std::move(folder)),
      manifest_(folder_ / (part.empty() ? std::string(kManifest) : fmt::format("{}.{}", kManifest, part))),
      before_(folder_) {}

bool OutputFolder::may_write(const std::string& given) const {
  const std::string name = fs::path(given).lexically_normal().generic_string();
  const OutputTarget target = output_target(folder_ / name);
  if (target.kind == OutputTarget::Kind::kFolder) return false;
  if (target.kind != OutputTarget::Kind::kFile) return true;
  std::error_code error;
  const std::uintmax_t size = fs::file_size(target.path, error);
  return (!error && before_.lists(name, size)) || written_by_usol(target.path);
}

void OutputFolder::write(const std::string& given, const std::function<void(const fs::path&)>& writer) {
  const std::string name = fs::path(given).lexically_normal().generic_string();
  const fs::path path = folder_ / name;
  check(may_write(name), ErrorKind::kUsage,
        "{}: is in the way: it was not written by usol, or was changed since; move it away", path.string());
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  check(!error, ErrorKind::kIo, "{}: cannot be made: {}", path.parent_path().string(), error.message());
  if (before_.lists_unfinished(name)) remove_temporaries_of(output_target(path).path);
  append(fmt::format("? {};\n", escaped(name)));
  writer(path);
  const std::uintmax_t size = fs::file_size(path, error);
  if (!error) append(fmt::format("{} {};\n", size, escaped(name)));
}

void OutputFolder::write(const std::string& name, std::span<const std::byte> bytes) {
  write(name, [&](const fs::path& path) { write_file(path, bytes); });
}

void OutputFolder::write(const std::string& name, std::string_view text) {
  write(name, std::as_bytes(std::span(text)));
}

void OutputFolder::append(const std::string& line) {
  const std::lock_guard lock(mutex_);
  if (file_.get() < 0) {
    file_ = FileDescriptor(::open(manifest_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0666));
    check(file_.get() >= 0, ErrorKind::kIo, "{}: cannot write: {}", manifest_.string(), std::strerror(errno));
    struct stat status {};
    const bool is_empty = ::fstat(file_.get(), &status) == 0 && status.st_size < static_cast<off_t>(kHeader.size());
    const bool cleared = !is_empty || status.st_size == 0 || ::ftruncate(file_.get(), 0) == 0;
    check(cleared, ErrorKind::kIo, "{}: cannot write: {}", manifest_.string(), std::strerror(errno));
    // A line that a crash cut short must not run into the next one.
    const std::string_view start = is_empty ? kHeader : std::string_view("\n");
    write_all(file_.get(), std::as_bytes(std::span(start)), manifest_.string());
  }
  write_all(file_.get(), std::as_bytes(std::span(line)), manifest_.string());
}

}  // namespace usol::io
