#pragma once
// Loads weights from any file that weights come in. Models take the result's tensors by name.
//
//   file                                       recognised by          contents taken
//   safetensors                                header                 all tensors
//   PyTorch .pth, zip or legacy container      first bytes            the state dict, see below
//   pickle of NumPy arrays (Detectron2 .pkl)   first bytes            the same
//   several of these with an index             ".json"                what the index lists (io/checkpoint_files.h)
//   a hub's folder                             being a folder         the same, or its one file of weights
//
// The state dict is the file's dict itself, or what it holds under the first of these that is a dict with tensors:
// "model" (Detectron2, DeiT), "state_dict" (MoCo), "teacher", "student" (DINO and DINOv2 training checkpoints); again
// inside of that. Objects of other programs beside them stay unread. Names are then brought to the plain model's by
// io/key_map.h. What was done is reported.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "usol/io/shared_bytes.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

struct CheckpointOptions {
  /// Take this instead of looking for the state dict: an entry of the file's dict ("student"), one inside of it
  /// ("model/ema"; where keys have no dots, "model.ema" too), names that begin with a prefix, which ends with a dot
  /// ("backbone."), or both ("model/teacher.backbone.").
  std::string entry = {};
  bool map_keys = true;  // false: names stay as the file has them
  /// A ResNet under torchvision's names gets Detectron2's (resnet_to_detectron2), as what is to run it has them.
  bool resnet_as_detectron2 = false;
};

struct Checkpoint {
  std::map<std::string, Tensor> tensors;
  std::string format;                           // "safetensors", "PyTorch zip", "PyTorch legacy", "pickle"
  std::string entry;                            // where in the file's dict the tensors were, as in CheckpointOptions
  std::map<std::string, std::string> metadata;  // numbers and texts beside them: "epoch", "args.arch" ...
  std::vector<std::string> applied;             // what key_map did, and which types were widened, in words
  std::vector<std::string> left_out;            // tensors that key_map dropped, and other entries of the dict
};

/// Reads weights. Tensors are on the CPU; they may be views of a shared storage or of the mapped file.
/// A folder's config.json and preprocessor_config.json join the metadata ("config.model_type", "config.image_mean").
/// Throws Error(kIo) or Error(kFormat) naming the file and the place, Error(kUnsupported) for formats with no reader
/// here, Error(kUsage) listing the file's entries or what names begin with if `entry` is none of them.
Checkpoint load_checkpoint(const std::filesystem::path& path, const CheckpointOptions& options = {});
/// The same from the bytes of one file.
Checkpoint parse_checkpoint(const SharedBytes& file, const CheckpointOptions& options = {});

/// Writes tensors in the format that the extension names: .safetensors (with metadata) or .pth (without).
/// Throws Error(kUsage) for another extension, and what the writers throw.
void save_checkpoint(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                     const std::map<std::string, std::string>& metadata = {});

}  // namespace usol::io
