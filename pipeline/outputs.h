#pragma once
// The one place that decides what may be written where, for every verb: an output is never an input; only
// what usol itself wrote is replaced or gone on with; links are written through; pipes and devices are written to. All
// of it is decided before any work is done.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/io/output_folder.h"
#include "usol/io/output_target.h"
#include "usol/pipeline/run.h"

namespace usol {

class InputList;

/// First every reads(), then the outputs.
class Outputs {
 public:
  /// For the results of `run`, which has read run.also_read. `existing` in the place of run.existing.
  Outputs(const Run& run, Existing existing) : existing_(existing) { reads(run.also_read); }
  explicit Outputs(const Run& run) : Outputs(run, run.existing) {}

  // ---- what the work reads. An empty name is none.
  void reads(const std::string& path);
  void reads(const std::vector<std::string>& paths);
  /// Kept by reference.
  void reads(const InputList& inputs);
  /// The regular files in a folder with one of these extensions, and in the folders in it.
  void reads_folder(const std::string& folder, const std::vector<std::string>& extensions);

  // ---- what it writes. `what` ("out") is for error texts.
  /// A file. Returns the path to write it to: "-" is the standard output. Throws Error(kUsage) naming the file, and
  /// what to do, if it is a folder or lies in something that is none, is an input or another output of this work,
  /// exists without leave to replace it, was not written by usol, or could not be written. Nothing is changed.
  std::string file(const std::string& what, const std::string& path);
  /// A file for each input i, name_of(i), in a folder; checks those that are there already as file() does.
  void files(const std::string& what, const io::OutputFolder& folder, std::int64_t count,
             const std::function<std::string(std::int64_t)>& name_of);
  /// A folder that the work will fill. Throws Error(kUsage) if something else has its name.
  void folder(const std::string& what, const std::string& path);
  /// A folder that must be the work's own: missing, empty (but for what a killed run left half written), or `is_ours`.
  /// Throws Error(kUsage) naming it otherwise.
  void own_folder(const std::filesystem::path& path, bool is_ours) const;

 private:
  bool is_input(const std::filesystem::path& file);

  Existing existing_;
  std::vector<std::string> paths_;
  const InputList* pictures_ = nullptr;
  std::vector<io::FileIdentity> inputs_;  // sorted, once something had to be compared
  bool has_inputs_ = false;
  std::vector<std::pair<std::filesystem::path, std::string>> outputs_;  // resolved, and what they are
};

/// The path that the name of an output stands for: /dev/stdout for "-".
std::string named_output(const std::string& name);
/// True for an output that is a pipe, a device or an open descriptor: no journal can lie beside it, and it cannot be
/// gone on with.
bool is_stream_output(const std::string& path);
/// Removes a file if usol wrote it; throws Error(kUsage) naming it if it did not. A link stays, what it leads to goes;
/// a stream stays. Nothing happens if there is no such file.
void remove_output(const std::filesystem::path& path);
/// Makes the folder of an output. Throws Error(kIo).
void make_folder_of(const std::string& output);

}  // namespace usol
