#pragma once
// The folder in which a training keeps its states: one file each, whole or absent, of which the last few stay.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "usol/nn/param_store.h"

namespace usol::train {

struct SavedState {
  std::filesystem::path path;
  StateDict tensors;
  std::map<std::string, std::string> metadata;
};

class CheckpointFolder {
 public:
  /// `keep`: how many of the last files stay, at least 1.
  CheckpointFolder(std::filesystem::path folder, std::int64_t keep);

  /// Writes "checkpoint_<iteration>.safetensors" and then removes the oldest ones. Throws Error(kIo), and leaves what
  /// was there, if the disk is full.
  std::filesystem::path save(std::int64_t iteration, const StateDict& tensors,
                             const std::map<std::string, std::string>& metadata) const;
  /// The file of the most iterations; nothing in a folder without any.
  std::optional<std::filesystem::path> newest() const;
  /// Reads newest(), and removes what save() would have removed: a run may have been killed in between. Throws as
  /// read_safetensors().
  std::optional<SavedState> load_newest() const;

 private:
  std::map<std::int64_t, std::filesystem::path> files() const;  // by iteration
  void remove_old() const;

  std::filesystem::path folder_;
  std::int64_t keep_;
};

}  // namespace usol::train
