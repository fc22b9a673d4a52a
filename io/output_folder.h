#pragma once
// A folder that gets a file for each picture: overlays, features, masks, dumps. A list in it, the manifest, says which
// files are ours, so that no other one is ever replaced, and none of ours is taken for a picture of the user's.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>

#include "usol/io/wait.h"

namespace usol::io {

/// What a folder's manifests list. A manifest is a text file, ".usol-files" or ".usol-files.PART", to which a line is
/// appended before and after each file is put in place; a line that a crash cut short does not count.
class WrittenFiles {
 public:
  WrittenFiles() = default;
  /// Reads the manifests in `folder`; none is nothing. Throws as read().
  explicit WrittenFiles(const std::filesystem::path& folder);
  /// Adds what a manifest lists. Throws Error(kFormat) for a file of that name that is none.
  void read(const std::filesystem::path& manifest);
  bool empty() const { return sizes_.empty(); }
  /// True if the file of this name ('/' between folders) is listed, and has the size it was written with.
  bool lists(const std::string& name, std::uintmax_t size) const;
  /// True if that file was begun and, as far as the list says, not put in place.
  bool lists_unfinished(const std::string& name) const;

 private:
  std::unordered_map<std::string, std::uintmax_t> sizes_;  // kUnknown between the two lines
};

class OutputFolder {
 public:
  /// `part`: of processes that write into one folder at once, each has a name of its own ("2of4").
  OutputFolder(std::filesystem::path folder, const std::string& part = {});
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }
  /// True unless `name` is a file (behind all links) that usol has not written, or a folder.
  bool may_write(const std::string& name) const;
  /// Puts a file in place: makes its folder, lists it, and calls `writer` with its path. May be called from several
  /// threads, once for each name. Throws Error(kUsage) naming the file if !may_write(name), Error(kIo).
  void write(const std::string& name, const std::function<void(const std::filesystem::path&)>& writer);
  void write(const std::string& name, std::span<const std::byte> bytes);
  void write(const std::string& name, std::string_view text);

 private:
  void append(const std::string& line);

  std::filesystem::path folder_, manifest_;
  WrittenFiles before_;  // what there was at the start
  std::mutex mutex_;
  FileDescriptor file_;  // of the manifest, once something is written
};

/// True for the name of a manifest.
bool is_manifest_name(std::string_view name);

}  // namespace usol::io
