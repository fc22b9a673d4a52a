#include "usol/pipeline/inputs.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <span>
#include <sstream>
#include <system_error>
#include <utility>

#include "usol/io/coco.h"
#include "usol/io/image_formats.h"
#include "usol/io/output_folder.h"
#include "usol/io/picture_path.h"
#include "usol/io/sha256.h"
#include "usol/io/text_lines.h"
#include "usol/io/utf8.h"
#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_pattern(const std::string& text) { return text.find_first_of("*?[") != std::string::npos; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool natural_less(std::string_view a, std::string_view b) {
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      const auto skip_zeros = [](std::string_view text, std::size_t k) {
        while (k + 1 < text.size() && text[k] == '0' && is_digit(text[k + 1])) ++k;
        return k;
      };
      const auto end_of_digits = [](std::string_view text, std::size_t k) {
        while (k < text.size() && is_digit(text[k])) ++k;
        return k;
      };
      const std::size_t i0 = skip_zeros(a, i), j0 = skip_zeros(b, j);
      const std::size_t i1 = end_of_digits(a, i0), j1 = end_of_digits(b, j0);
      if (i1 - i0 != j1 - j0) return i1 - i0 < j1 - j0;
      if (const int order = a.substr(i0, i1 - i0).compare(b.substr(j0, j1 - j0)); order != 0) return order < 0;
      i = i1;
      j = j1;
    } else {
      if (a[i] != b[j]) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[j]);
      ++i;
      ++j;
    }
  }
  if ((i == a.size()) != (j == b.size())) return i == a.size();
  return a < b;
}

InputImage InputList::operator[](std::int64_t index) const {
  const Entry& entry = entries_[static_cast<std::size_t>(index)];
  std::string name(file_name(index));
  fs::path path = io::picture_path(roots_[entry.root], name);
  return {entry.id, std::move(name), std::move(path)};
}

std::string_view InputList::file_name(std::int64_t index) const {
  const Entry& entry = entries_[static_cast<std::size_t>(index)];
  return std::string_view(names_).substr(entry.name, entry.name_size);
}

std::string InputList::digest() const {
  io::Sha256 hash;
  for (std::int64_t i = 0; i < size(); ++i) {
    const std::string line = fmt::format("{} {}\n", id(i), file_name(i));
    hash.update(std::as_bytes(std::span(line)));
  }
  return hash.finish();
}

InputImage nameable_picture(const InputList& inputs, std::int64_t index) {
  InputImage input = inputs[index];
  check(io::is_utf8(input.file_name), ErrorKind::kFormat,
        "its name is not UTF-8, and annotations (JSON) cannot hold it: rename it (docs/formats.md has a command for "
        "whole folders)");
  return input;
}

// Gathers entries from all arguments, then sorts and numbers them.
class InputCollector {
 public:
  explicit InputCollector(const InputOptions& options) : options_(options) {
    if (options_.image_root.empty()) return;
    check(fs::is_directory(options_.image_root), ErrorKind::kUsage, "image-root {}: no such folder",
          options_.image_root);
    image_root_ = options_.image_root;
  }

  InputList collect() {
    for (const auto& input : options_.inputs) add(input);
    check(list_.size() > 0, ErrorKind::kUsage, "no picture in {}{}", fmt::join(options_.inputs, ", "),
          list_.written_ > 0
              ? fmt::format(" ({} were written by usol; name one itself to have it taken)", list_.written_)
          : list_.ignored_ > 0 ? fmt::format(" ({} files are no pictures by their name)", list_.ignored_)
                               : "");
    if (!has_ids_) sort_and_number();
    return std::move(list_);
  }

 private:
  void add(const std::string& input) {
    std::error_code error;
    const auto status = fs::status(input, error);
    if (fs::is_directory(status)) {
      const auto root = image_root_.empty() ? root_index(input) : root_index(image_root_);
      add_folder(input, image_root_.empty() ? std::string() : name_under_root(input) + "/", root);
    } else if (fs::exists(status)) {
      const std::string extension = lower(fs::path(input).extension().string());
      if (extension == ".txt") {
        add_list(input);
      } else if (extension == ".json") {
        add_coco(input);
      } else {
        add_file(input, fs::path(input).parent_path());
      }
    } else if (is_pattern(input)) {
      add_pattern(input);
    } else {
      fail(ErrorKind::kUsage,
           fmt::format(
               "{}: {}", input,
               error && error != std::errc::no_such_file_or_directory ? error.message() : "no such file or folder"));
    }
  }

  // `prefix` is the name of `folder` relative to the root, with a slash behind it.
  void add_folder(const fs::path& folder, const std::string& prefix, std::uint32_t root) {
    struct stat status {};
    const bool known = stat(folder.c_str(), &status) == 0;
    check(known, ErrorKind::kUsage, "{}: cannot be read: {}", folder.string(), std::strerror(errno));
    const std::pair<dev_t, ino_t> self{status.st_dev, status.st_ino};
    check(std::find(ancestors_.begin(), ancestors_.end(), self) == ancestors_.end(), ErrorKind::kUsage,
          "{}: is a link to a folder that it lies in", folder.string());
    ancestors_.push_back(self);
    io::throw_if_stop_asked();
    std::error_code error;
    const std::size_t before = list_.entries_.size();
    io::WrittenFiles written;
    for (fs::directory_iterator it(folder, error), end; it != end && !error; it.increment(error)) {
      const std::string name = it->path().filename().string();
      if (io::is_manifest_name(name)) written.read(it->path());
      if (name.starts_with('.')) continue;
      std::error_code entry_error;
      if (it->is_directory(entry_error)) {
        add_folder(it->path(), prefix + name + '/', root);
      } else if (io::is_picture_name(it->path())) {
        append(prefix + name, root);
      } else {
        ++list_.ignored_;
      }
    }
    check(!error, ErrorKind::kUsage, "{}: cannot be listed: {}", folder.string(), error.message());
    if (!written.empty()) leave_out(written, folder, before, prefix.size());
    ancestors_.pop_back();
  }

  // Takes what usol wrote into the folder (overlays of an earlier run, say) off the list, from the entry `first` on;
  // the folder's own part of their names has `prefix` bytes.
  void leave_out(const io::WrittenFiles& written, const fs::path& folder, std::size_t first, std::size_t prefix) {
    const auto begin = list_.entries_.begin() + static_cast<std::ptrdiff_t>(first);
    const auto end = std::remove_if(begin, list_.entries_.end(), [&](const InputList::Entry& entry) {
      const std::string name = list_.names_.substr(entry.name + prefix, entry.name_size - prefix);
      return is_written(written, folder, name);
    });
    list_.written_ += list_.entries_.end() - end;
    list_.entries_.erase(end, list_.entries_.end());
  }

  static bool is_written(const io::WrittenFiles& written, const fs::path& folder, const std::string& name) {
    std::error_code error;
    const std::uintmax_t size = fs::file_size(folder / name, error);
    return !error && written.lists(name, size);
  }

  void add_file(const fs::path& file, const fs::path& folder) {
    if (!image_root_.empty()) {
      append(name_under_root(file), root_index(image_root_));
    } else {
      append(relative_name(file, folder), root_index(folder));
    }
  }

  void add_pattern(const std::string& pattern) {
    const fs::path folder = fs::path(pattern.substr(0, pattern.find_first_of("*?[")) + "x").parent_path();
    glob_t found{};
    const int status = glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
    std::vector<std::string> paths(found.gl_pathv, found.gl_pathv + found.gl_pathc);
    globfree(&found);
    check(status != GLOB_NOMATCH, ErrorKind::kUsage, "{}: no file matches", pattern);
    check(status == 0, ErrorKind::kUsage, "{}: a folder of the pattern cannot be read", pattern);
    bool any = false;
    fs::path listed;
    io::WrittenFiles written;
    for (const fs::path path : paths) {
      if (const fs::path parent = path.parent_path(); !any || parent != listed) {
        any = true;
        listed = parent;
        written = io::WrittenFiles(parent.empty() ? fs::path(".") : parent);
      }
      if (fs::is_directory(path)) {
        const auto& base = image_root_.empty() ? folder : image_root_;
        const auto name = image_root_.empty() ? relative_name(path, folder) : name_under_root(path);
        add_folder(path, name + "/", root_index(base));
      } else if (io::is_picture_name(path)) {
        if (!written.empty() && is_written(written, path.parent_path(), path.filename().string())) {
          ++list_.written_;
        } else {
          add_file(path, folder);
        }
      } else {
        ++list_.ignored_;
      }
    }
  }

  void add_list(const std::string& list) {
    io::TextLines lines{fs::path(list)};
    const fs::path folder = image_root_.empty() ? fs::path(list).parent_path() : image_root_;
    std::int64_t seen = 0, missing = 0;
    std::string first_missing;
    for (std::string line; lines.next(line);) {
      if (line.empty() || line.starts_with('#')) continue;
      const fs::path path = io::picture_path(folder, line);
      if (path != folder / fs::path(line)) line = io::portable_name(line);
      note_existence(path, seen, missing, first_missing);
      if (fs::path(line).is_absolute()) {
        add_file(path, path.parent_path());
      } else {
        append(fs::path(line).lexically_normal().generic_string(), root_index(folder));
      }
    }
    check(seen > 0, ErrorKind::kUsage, "{}: the list is empty", list);
    check(
        missing < seen, ErrorKind::kUsage,
        "{}: {} does not exist, nor does any other of its first {} files (paths are relative to the list's folder, or "
        "to image-root)",
        list, first_missing, seen);
  }

  void add_coco(const std::string& path) {
    check(!image_root_.empty(), ErrorKind::kUsage, "{}: a COCO file needs image-root, the folder of its images", path);
    check(options_.inputs.size() == 1, ErrorKind::kUsage,
          "{}: a COCO file must be the only input, because it gives the ids", path);
    has_ids_ = true;
    std::int64_t seen = 0, missing = 0;
    std::string first_missing;
    const io::AnnotationSet set = io::read_coco(path, {.annotations = false, .sizes = false});
    check(!set.is_results, ErrorKind::kFormat,
          "{}: expected a COCO data set, got a list of results, which names no files", path);
    for (std::size_t i = 0; i < set.images.size(); ++i) {
      const io::CocoImage& image = set.images[i];
      check(!image.file_name.empty(), ErrorKind::kFormat, "{}: images[{}].file_name: missing", path, i);
      note_existence(io::picture_path(image_root_, image.file_name), seen, missing, first_missing);
      append(image.file_name, root_index(image_root_), image.id);
    }
    list_.annotation_file_ = path;
    list_.report_ = set.report;
    check(seen == 0 || missing < seen, ErrorKind::kUsage,
          "{}: {} does not exist, nor does any other of its first {} images; is image-root right?", path, first_missing,
          seen);
  }

  // Files that are missing here and there fail one by one when their turn comes; a wrong root is told at once, from the
  // first few files (looking at all would take minutes on a network disk).
  static void note_existence(const fs::path& path, std::int64_t& seen, std::int64_t& missing, std::string& first) {
    if (seen >= 16) return;
    ++seen;
    std::error_code ignored;
    if (fs::exists(path, ignored)) return;
    ++missing;
    if (first.empty()) first = path.string();
  }

  static std::string relative_name(const fs::path& path, const fs::path& folder) {
    return (folder.empty() ? path : path.lexically_relative(folder)).generic_string();
  }

  std::string name_under_root(const fs::path& path) const {
    std::error_code error;
    const auto name = fs::relative(fs::absolute(path).lexically_normal(), image_root_, error).generic_string();
    check(!error && !name.starts_with(".."), ErrorKind::kUsage, "{}: is not under image-root {}", path.string(),
          image_root_.string());
    return name;
  }

  std::uint32_t root_index(const fs::path& root) {
    const auto found = std::find(list_.roots_.rbegin(), list_.roots_.rend(), root);
    if (found != list_.roots_.rend()) return static_cast<std::uint32_t>(list_.roots_.rend() - found - 1);
    list_.roots_.push_back(root);
    return static_cast<std::uint32_t>(list_.roots_.size() - 1);
  }

  void append(std::string_view name, std::uint32_t root, std::int64_t id = 0) {
    list_.entries_.push_back({id, list_.names_.size(), name.size(), root});
    list_.names_ += name;
  }

  void sort_and_number() {
    auto& entries = list_.entries_;
    const auto name = [&](const InputList::Entry& entry) {
      return std::string_view(list_.names_).substr(entry.name, entry.name_size);
    };
    std::stable_sort(entries.begin(), entries.end(),
                     [&](const auto& a, const auto& b) { return natural_less(name(a), name(b)); });
    for (std::size_t i = 0; i < entries.size(); ++i) {
      entries[i].id = static_cast<std::int64_t>(i) + 1;
      if (i == 0 || name(entries[i]) != name(entries[i - 1])) continue;
      const auto at = static_cast<std::int64_t>(i);
      fail(ErrorKind::kUsage,
           fmt::format("{} and {} have one name, {}; give image-root to name them relative to that folder",
                       list_[at - 1].path.string(), list_[at].path.string(), std::string(name(entries[i]))));
    }
  }

  const InputOptions& options_;
  fs::path image_root_;
  bool has_ids_ = false;                            // of a COCO file: order and ids stay as they are
  std::vector<std::pair<dev_t, ino_t>> ancestors_;  // of the folder being walked, against loops of links
  InputList list_;
};

void InputOptions::declare(Settings& settings) {
  settings.group("Inputs");
  settings.positional("INPUT", inputs,
                      "Pictures, folders (with all below), quoted patterns, lists (.txt), or a COCO file (.json)");
  settings.add("image-root DIR", image_root, "Folder that file names are relative to", OptionKind::kRun);
}

InputList InputOptions::collect() const {
  check(!inputs.empty(), ErrorKind::kUsage,
        "no input: give pictures, folders, patterns, a list (.txt) or a COCO file "
        "(.json) with image-root");
  return InputCollector(*this).collect();
}

fs::path InputOptions::picture_folder() const {
  if (!image_root.empty()) return image_root;
  std::error_code ignored;
  return inputs.size() == 1 && fs::is_directory(inputs[0], ignored) ? fs::path(inputs[0]) : fs::path();
}

fs::path output_path(const fs::path& folder, std::string_view file_name, std::string_view extension) {
  fs::path path = folder / fs::path(io::portable_name(file_name));
  path.replace_extension(fs::path(extension));
  return path;
}

void check_output_paths(const InputList& inputs) {
  std::vector<std::pair<std::string, std::int64_t>> stems;
  stems.reserve(static_cast<std::size_t>(inputs.size()));
  for (std::int64_t i = 0; i < inputs.size(); ++i) {
    const fs::path name = fs::path(io::portable_name(inputs.file_name(i))).lexically_normal();
    check(!name.is_absolute() && *name.begin() != "..", ErrorKind::kUsage,
          "{}: its output would lie outside the output folder; give image-root", name.string());
    stems.emplace_back(output_path({}, name.string(), "").string(), i);
  }
  std::sort(stems.begin(), stems.end());
  for (std::size_t i = 1; i < stems.size(); ++i) {
    check(stems[i].first != stems[i - 1].first, ErrorKind::kUsage,
          "{} and {} would write the same output, {}.*; rename one or run them apart",
          inputs[stems[i - 1].second].path.string(), inputs[stems[i].second].path.string(), stems[i].first);
  }
}

Shard Shard::parse(const std::string& text) {
  Shard shard;
  const char* end = text.data() + text.size();
  const auto slash = text.find('/');
  bool good = slash != std::string::npos;
  if (good) {
    const auto a = std::from_chars(text.data(), text.data() + slash, shard.index);
    const auto b = std::from_chars(text.data() + slash + 1, end, shard.count);
    good = a.ec == std::errc() && a.ptr == text.data() + slash && b.ec == std::errc() && b.ptr == end &&
           shard.count >= 1 && shard.index >= 1 && shard.index <= shard.count && shard.count <= 1'000'000;
  }
  check(good, ErrorKind::kUsage, "shard: expected K/N with 1 <= K <= N, got '{}'", text);
  return shard;
}

std::int64_t Shard::first(std::int64_t total) const {
  return total / count * (index - 1) + total % count * (index - 1) / count;
}
std::int64_t Shard::last(std::int64_t total) const { return total / count * index + total % count * index / count; }

}  // namespace usol
