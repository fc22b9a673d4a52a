#pragma once
// Loads weights from any file that weights come in. Models take the result's tensors by name.
//
//   file                                       recognised by          contents taken
//   safetensors                                header                 all tensors
//   PyTorch .pth, zip or legacy container      first bytes            the state dict, see below
//   pickle of NumPy arrays (Detectron2 .pkl)   first bytes            the same
//
// The state dict is the file's dict itself, or what it holds under the first of these that is a dict with tensors:
// "model" (Detectron2, DeiT), "state_dict" (MoCo), "teacher", "student" (DINO and DINOv2 training checkpoints); again
// inside of that. Names are then brought to the plain model's by io/key_map.h. What was done is reported.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "usol/io/shared_bytes.h"
#include "usol/tensor/tensor.h"

namespace usol {

struct CheckpointOptions {
  std::string entry;     // take this entry ("student", or a path like "a.b") instead of looking for one
  bool map_keys = true;  // false: names stay as the file has them
};

struct Checkpoint {
  std::map<std::string, Tensor> tensors;
  std::string format;                           // "safetensors", "PyTorch zip", "PyTorch legacy", "pickle"
  std::string entry;                            // where in the file's dict the tensors were, "" at the top
  std::map<std::string, std::string> metadata;  // numbers and texts beside them: "epoch", "args.arch" ...
  std::vector<std::string> applied;             // what key_map did, in words
  std::vector<std::string> left_out;            // tensors that key_map dropped, and other entries of the dict
};

/// Reads weights. Tensors are on the CPU; they may be views of a shared storage or of the mapped file.
/// Throws Error(kIo) or Error(kFormat) naming the file and the place, Error(kUnsupported) for formats with no reader
/// here, Error(kUsage) listing the file's entries if `entry` is not one of them.
Checkpoint load_checkpoint(const std::filesystem::path& path, const CheckpointOptions& options = {});
/// The same from bytes.
Checkpoint parse_checkpoint(const SharedBytes& file, const CheckpointOptions& options = {});

/// Writes tensors in the format that the extension names: .safetensors (with metadata) or .pth (without).
/// Throws Error(kUsage) for another extension, and what the writers throw.
void save_checkpoint(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                     const std::map<std::string, std::string>& metadata = {});

}  // namespace usol
