#pragma once
// What one checkpoint holds, and which model it fits: for people and as JSON.

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "usol/io/checkpoint.h"
#include "usol/models/describe.h"
#include "usol/tensor/dtype.h"
#include "usol/tensor/shape.h"

namespace usol {

struct CheckpointDescription {
  struct Entry {
    DType dtype = DType::kF32;
    Shape shape = {};
  };
  std::string file;                             // its path
  std::string format;                           // "safetensors", "PyTorch zip", ... (io/checkpoint.h)
  std::uint64_t bytes = 0;                      // of all its files
  std::string sha256;                           // checkpoint_sha256()
  std::string entry;                            // where in the file's dict the tensors were; "": in itself
  std::vector<std::string> applied, left_out;   // what was done to the names, and what was not taken
  std::map<std::string, std::string> metadata;  // numbers and texts beside the tensors
  std::map<std::string, Entry> tensors;
  std::int64_t parameters = 0;  // numbers that training changes by gradients: a batch norm's statistics are none
  Description model;            // what the tensors look like
  /// Why no loader takes them as model.architecture; "" if one does, or if nothing loads such a model by itself (a
  /// backbone that trainings start from).
  std::string refused;

  /// The text for people: format, size, SHA-256, what was taken, architecture, tensors. Names and texts from the file
  /// are shown with control characters escaped. Tensors whose names differ in one number only, with equal shape and
  /// dtype, share a line unless `every_tensor`.
  std::string text(bool every_tensor = false) const;
  /// The same facts as a JSON object, with every tensor; escaped likewise.
  nlohmann::ordered_json json() const;
};

/// Reads a checkpoint and looks at it. Throws what load_checkpoint() throws.
CheckpointDescription describe_checkpoint(const std::filesystem::path& path, const io::CheckpointOptions& options = {});

}  // namespace usol
