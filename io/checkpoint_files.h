#pragma once
// Where the files of a checkpoint are: one file, several that an index lists, or a hub's folder with either.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "usol/io/shared_bytes.h"

namespace usol::io {

/// "model.safetensors.index.json", "pytorch_model.bin.index.json": which file has which tensor.
struct CheckpointIndex {
  std::map<std::string, std::string> file_of;  // by the tensor's name; plain names of files beside the index
};
/// Reads an index. Throws Error(kFormat) if the bytes are no JSON object with a "weight_map" of texts, or if a file's
/// name is a path to somewhere else.
CheckpointIndex parse_checkpoint_index(const SharedBytes& file);

struct CheckpointFiles {
  std::vector<std::filesystem::path> parts;  // files of tensors, at least one, sorted by name
  std::filesystem::path index;               // empty for a single file
  std::filesystem::path config;              // a hub's config.json beside them; empty if there is none
  std::filesystem::path preprocessor;        // likewise preprocessor_config.json

  std::uintmax_t bytes() const;  // of the parts
};
/// Finds the files behind `path`: itself; if it is an index, the files that it lists; if it is a folder, what is there
/// of "model.safetensors", its index, "pytorch_model.bin" and its index, the first of these. Throws Error(kIo) if a
/// listed file does not exist, Error(kFormat) naming what was looked for if a folder has none of them.
CheckpointFiles find_checkpoint_files(const std::filesystem::path& path);

/// SHA-256 of a single file; of several, of the lines that `sha256sum PARTS` prints in their folder.
std::string checkpoint_sha256(const std::filesystem::path& path);

/// Plain values of a hub's config.json or preprocessor_config.json, by key; texts without quotes. "image_mean" and
/// "image_std" also as timm has them, inside of "pretrained_cfg": three numbers, "[0.485,0.456,0.406]". Throws
/// Error(kFormat) if it is no JSON object, and Error(kUnsupported) if it is of a ViT, a DINOv2 (also one with
/// registers) or a DINOv3 whose numbers mean another model than the shapes of its tensors do here: heads of another
/// width than 64 (DINOv3 7B: 128), another activation than GELU (gated: SiLU), a layer norm's epsilon far from 1e-6
/// (DINOv3: 1e-5), a base of rotary positions other than 100.
std::map<std::string, std::string> read_hub_config(const SharedBytes& file);

}  // namespace usol::io
