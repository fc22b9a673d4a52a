#pragma once
// What `usol info` says about one file of weights.

#include <filesystem>
#include <string>

#include "usol/io/checkpoint.h"

namespace usol::cli {

struct InfoOptions {
  io::CheckpointOptions checkpoint;
  bool every_tensor = false;  // list each by itself instead of folding numbered ones into one line
};

/// The text for people: format, size, SHA-256, what was taken, architecture, tensors. Names and texts from the file
/// are shown with control characters escaped. Throws what load_checkpoint throws.
std::string info_text(const std::filesystem::path& path, const InfoOptions& options = {});
/// The same facts as one line of JSON, with every tensor.
std::string info_json(const std::filesystem::path& path, const InfoOptions& options = {});

}  // namespace usol::cli
