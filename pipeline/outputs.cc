#include "usol/pipeline/outputs.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <unordered_set>

#include "usol/io/atomic_file.h"
#include "usol/io/origin.h"
#include "usol/pipeline/inputs.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

// The nearest folder above `path` that exists.
fs::path existing_folder_above(const fs::path& path) {
  fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code error;
  while (folder.has_relative_path() && !fs::exists(folder, error)) {
    const fs::path above = folder.parent_path();
    if (above == folder) break;
    folder = above.empty() ? fs::path(".") : above;
  }
  return folder;
}

// A new file can be made: what is above it is a folder that may be written to.
void check_place(const std::string& what, const std::string& path, const fs::path& target) {
  const fs::path folder = existing_folder_above(target);
  check(fs::is_directory(folder), ErrorKind::kUsage, "{} {}: {} is no folder", what, path, folder.string());
  const bool writable = ::access(folder.c_str(), W_OK | X_OK) == 0;
  check(writable, ErrorKind::kUsage, "{} {}: the folder {} cannot be written to: {}", what, path, folder.string(),
        std::strerror(errno));
}

std::string foreign_text(const fs::path& path) {
  return fmt::format(
      "{} exists and was not written by usol (or was changed since, or is of an older version): only what usol wrote "
      "is "
      "replaced; move it away or choose another name",
      path.string());
}

}  // namespace

void Outputs::reads(const std::string& path) {
  if (!path.empty()) paths_.push_back(path);
}

void Outputs::reads(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) reads(path);
}

void Outputs::reads(const InputList& inputs) { pictures_ = &inputs; }

void Outputs::reads_folder(const std::string& folder, const std::vector<std::string>& extensions) {
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; it != end && !error; it.increment(error)) {
    if (it.depth() >= 1) it.disable_recursion_pending();
    const std::string extension = it->path().extension().string();
    if (std::find(extensions.begin(), extensions.end(), extension) != extensions.end()) reads(it->path().string());
  }
}

bool Outputs::is_input(const fs::path& file) {
  const auto identity = io::file_identity(file);
  if (!identity) return false;
  if (!has_inputs_) {
    has_inputs_ = true;
    for (const std::string& path : paths_)
      if (const auto input = io::file_identity(path)) inputs_.push_back(*input);
    // On a network disk each look takes a while, so several are had at once.
    const std::int64_t count = pictures_ == nullptr ? 0 : pictures_->size();
    std::vector<std::optional<io::FileIdentity>> found(static_cast<std::size_t>(count));
    parallel_for_each(0, count, [&](std::int64_t i) {
      found[static_cast<std::size_t>(i)] = io::file_identity((*pictures_)[i].path);
    });
    for (const auto& input : found)
      if (input) inputs_.push_back(*input);
    std::sort(inputs_.begin(), inputs_.end());
  }
  return std::binary_search(inputs_.begin(), inputs_.end(), *identity);
}

std::string Outputs::file(const std::string& what, const std::string& given) {
  const std::string path = named_output(given);
  const io::OutputTarget target = io::output_target(path);
  check(target.kind != io::OutputTarget::Kind::kFolder && !path.ends_with('/'), ErrorKind::kUsage,
        "{} {} is a folder; give the name of a file", what, path);
  check(target.is_stream() ? target.descriptor >= 0 || !fs::is_block_file(target.path) : true, ErrorKind::kUsage,
        "{} {} is a disk: its content would be lost", what, path);
  const fs::path resolved = target.descriptor >= 0 ? target.path : io::resolved_path(target.path);
  // One terminal may well be both; a file that a shell's ">>" leads to may not.
  std::error_code ignored;
  const bool holds_bytes = !target.is_stream() || fs::is_regular_file(target.path, ignored);
  check(!holds_bytes || !is_input(target.path), ErrorKind::kUsage,
        "{} {} is an input of this run and would be overwritten; choose another name", what, path);
  for (const auto& [other, name] : outputs_)
    check(other != resolved || target.is_stream(), ErrorKind::kUsage, "{} {} and {} are one file; choose another name",
          what, path, name);
  outputs_.emplace_back(resolved, fmt::format("{} {}", what, path));
  if (target.is_stream()) return path;
  if (target.kind == io::OutputTarget::Kind::kFile) {
    const bool ours = io::written_by_usol(target.path);
    check(ours, ErrorKind::kUsage, "{} {}", what, foreign_text(path));
    check(existing_ != Existing::kRefuse, ErrorKind::kExists, "{} exists", path);
  }
  check_place(what, path, target.path);
  return path;
}

void Outputs::files(const std::string& what, const io::OutputFolder& folder, std::int64_t count,
                    const std::function<std::string(std::int64_t)>& name_of) {
  this->folder(what, folder.path().string());
  // What there is in the folder that the files before this one went to: files of one folder mostly come together, and a
  // look at each of a million names would take long on a network disk.
  fs::path listed;
  std::unordered_set<std::string> names;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string name = name_of(i);
    const fs::path path = folder.path() / name;
    if (i == 0 || path.parent_path() != listed) {
      listed = path.parent_path();
      names.clear();
      std::error_code error;
      for (fs::directory_iterator it(listed, error), end; it != end && !error; it.increment(error))
        names.insert(it->path().filename().string());
    }
    if (!names.contains(path.filename().string())) continue;
    const io::OutputTarget target = io::output_target(path);
    check(target.is_stream() || !is_input(target.path), ErrorKind::kUsage,
          "{} {}: {} is an input of this run and would be overwritten; choose another folder", what,
          folder.path().string(), path.string());
    if (target.is_stream() || target.kind == io::OutputTarget::Kind::kNew) continue;
    check(folder.may_write(name), ErrorKind::kUsage, "{} {}: {}", what, folder.path().string(), foreign_text(path));
    check(existing_ != Existing::kRefuse, ErrorKind::kExists, "{} {}: {} exists", what, folder.path().string(),
          path.string());
  }
}

void Outputs::folder(const std::string& what, const std::string& path) {
  check(path != "-", ErrorKind::kUsage,
        "{} -: - is the standard output, which takes one file, no folder; ./- is a folder of that name", what);
  const io::OutputTarget target = io::output_target(path);
  check(target.kind == io::OutputTarget::Kind::kFolder || target.kind == io::OutputTarget::Kind::kNew,
        ErrorKind::kUsage, "{} {} is no folder", what, path);
  check_place(what, path, fs::path(path) / "x");
}

void Outputs::own_folder(const fs::path& path, bool is_ours) const {
  const io::OutputTarget target = io::output_target(path);
  if (target.kind == io::OutputTarget::Kind::kNew) return;
  check(target.kind == io::OutputTarget::Kind::kFolder, ErrorKind::kUsage, "{} is no folder; move it away",
        path.string());
  const auto counts = [](const fs::directory_entry& entry) {
    return !io::is_temporary_name(entry.path().filename().string());
  };
  check(is_ours || std::none_of(fs::directory_iterator(path), fs::directory_iterator(), counts), ErrorKind::kUsage,
        "{} was not made by usol and is in the way: move it away, or choose another output folder", path.string());
}

std::string named_output(const std::string& name) { return name == "-" ? "/dev/stdout" : name; }

bool is_stream_output(const std::string& path) { return io::output_target(path).is_stream(); }

void remove_output(const fs::path& path) {
  const io::OutputTarget target = io::output_target(path);
  if (target.is_stream() || target.kind == io::OutputTarget::Kind::kNew) return;
  const bool ours = target.kind == io::OutputTarget::Kind::kFile && io::written_by_usol(target.path);
  check(ours, ErrorKind::kUsage, "{}", foreign_text(path));
  fs::remove(target.path);
}

void make_folder_of(const std::string& output) {
  const io::OutputTarget target = io::output_target(named_output(output));
  if (target.is_stream()) return;
  const fs::path folder = target.path.parent_path();
  std::error_code error;
  if (!folder.empty()) fs::create_directories(folder, error);
  check(!error, ErrorKind::kIo, "{}: cannot be made: {}", folder.string(), error.message());
}

}  // namespace usol
