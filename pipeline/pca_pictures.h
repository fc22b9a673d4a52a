#pragma once
// The last step of `usol features` where pictures are wanted: the first three principal components of what was written,
// as pictures.

#include <cstdint>
#include <filesystem>
#include <string>

#include "usol/io/output_folder.h"
#include "usol/pipeline/run.h"
#include "usol/tensor/settings.h"

namespace usol {

struct PcaOptions {
  std::string folder;      // for the pictures; empty: none are made
  std::string of = "set";  // whose patches the components are of: "set" (all pictures) or "picture" (each one's own)

  void declare(Settings& settings);
  bool wanted() const { return !folder.empty(); }
};

/// <relative path without extension>.png in `pictures` for each picture in the list that `usol features` wrote, of
/// patches of `patch_px`. Features are read from beside the list: once more for the components of all. Throws
/// Error(kInterrupted) if a stop was asked for, and as the readers.
void write_pca_pictures(const Run& run, const PcaOptions& options, const std::filesystem::path& list,
                        std::int64_t patch_px, io::OutputFolder& pictures);

}  // namespace usol
