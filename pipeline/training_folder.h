#pragma once
// The folder of a long training: figures, checkpoints to go on from and what it ends with. What of it may be written,
// whether a training is in it, and how it is removed.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "usol/pipeline/inputs.h"
#include "usol/pipeline/run.h"
#include "usol/train/checkpoint.h"

namespace usol {

class TrainingFolder {
 public:
  /// Key of a checkpoint's metadata: what made it.
  static constexpr const char* kInfo = "info";

  /// `finals`: names of the files that a training ends with, of which the first one is written last. `keep`: how many
  /// checkpoints stay.
  TrainingFolder(std::filesystem::path folder, std::vector<std::string> finals, std::int64_t keep = 1);

  const std::filesystem::path& path() const { return folder_; }
  const train::CheckpointFolder& checkpoints() const { return checkpoints_; }
  std::filesystem::path metrics() const { return folder_ / "metrics.json"; }
  std::filesystem::path skipped_list() const { return folder_ / "skipped.txt"; }
  std::filesystem::path pictures() const { return folder_ / "pictures"; }

  /// Throws Error(kUsage) for what is in the way, as Outputs does, and Error(kExists) if a training is there and the
  /// run may neither replace it nor go on with it. `reads` and `inputs` (may be null): files that the training reads.
  void check_outputs(const Run& run, const std::vector<std::string>& reads, bool with_pictures,
                     const InputList* inputs = nullptr) const;
  /// True if the first of the final files is there and whole, and so are the others that are there. A damaged one is
  /// made anew from the last checkpoint; throws Error where there is none, and Error(kUsage) for a finished training of
  /// other `settings` (JSON, where the run has none).
  bool is_finished(const Run& run, const std::string& settings) const;
  /// The newest checkpoint that is whole, to go on from; `warns`: of the damaged ones after it. Throws Error if there
  /// is none, and Error(kUsage) if its metadata say under kInfo that it was made with another `info`.
  train::SavedState newest(const Run& run, const nlohmann::ordered_json& info, bool warns) const;
  /// Removes unfinished copies of its files, which a process that was killed while it wrote them has left
  /// (io/atomic_file.h). Before the first file is written.
  void remove_unfinished() const;
  /// Removes what a training has left, and nothing else. Throws Error(kUsage) naming a file that has the name of such a
  /// one and was not written by usol.
  void remove() const;

 private:
  bool has_figures() const;

  std::filesystem::path folder_;
  std::vector<std::string> finals_;
  train::CheckpointFolder checkpoints_;
};

}  // namespace usol
