#pragma once
// The folder in which a training keeps its states: one file each, whole or absent, of which the last few stay.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "usol/nn/param_store.h"

namespace usol::train {

/// save_safetensors() with a checksum of tensors and metadata, as the key "checksum" of the metadata, by which
/// read_checked() knows damage: cut off ends, flipped bits.
void save_checked(const std::filesystem::path& path, const StateDict& tensors,
                  const std::map<std::string, std::string>& metadata);

/// The tensors whose names begin with `prefix`, without it.
StateDict entries_under(const StateDict& state, const std::string& prefix);

struct SavedState {
  std::filesystem::path path;
  StateDict tensors;
  std::map<std::string, std::string> metadata;  // but for the checksum
};
/// Reads a file of save_checked(), or one without a checksum as it is. Throws as read_safetensors(), and Error(kFormat)
/// naming the file if it is not what was saved.
SavedState read_checked(const std::filesystem::path& path);

/// The newest file that could be read, and what is wrong with those that are newer.
struct NewestState {
  std::optional<SavedState> state;
  std::vector<std::string> damaged;  // errors that name the file, newest first
};

class CheckpointFolder {
 public:
  /// `keep`: how many of the last files stay, at least 1.
  CheckpointFolder(std::filesystem::path folder, std::int64_t keep);

  /// Writes "checkpoint_<iteration>.safetensors"; then removes files of more iterations, which are damaged or of steps
  /// that are made anew, and the oldest ones. Throws Error(kIo), and leaves what was there, if the disk is full.
  std::filesystem::path save(std::int64_t iteration, const StateDict& tensors,
                             const std::map<std::string, std::string>& metadata) const;
  /// The file of the most iterations; nothing in a folder without any.
  std::optional<std::filesystem::path> newest() const;
  /// All of them, the oldest first.
  std::vector<std::filesystem::path> all() const;
  /// Reads the newest file that is whole. If that is newest(), removes what save() would have removed: a run may have
  /// been killed in between. Throws Error(kFormat) that lists them if there are files and all are damaged.
  NewestState load_newest() const;

 private:
  std::map<std::int64_t, std::filesystem::path> files() const;  // by iteration
  void remove_old() const;

  std::filesystem::path folder_;
  std::int64_t keep_;
};

}  // namespace usol::train
