#pragma once
// PyTorch's .pth files, in both containers (the zip of today and the legacy stream), and plain pickles of NumPy arrays
// (Detectron2's model zoo). Which one a file is, its content tells. Nothing in a file is executed (io/pickle.h).

#include <filesystem>
#include <map>
#include <string>

#include "usol/io/pickle_arrays.h"
#include "usol/io/shared_bytes.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

struct PickledFile {
  std::string format;  // "PyTorch zip", "PyTorch legacy", "pickle"
  PickledTensors content;
};

/// Reads the object tree; storages are read when a tensor of them is asked for.
/// Throws Error(kFormat) naming the place for a malformed or truncated file or a forbidden global; Error(kUnsupported)
/// for big-endian files, compressed entries, TorchScript and the tar files of PyTorch before 0.1.10.
PickledFile parse_pth(const SharedBytes& file);

/// Writes a state dict that torch.load(weights_only=True) opens: {name: tensor}, or {entry: {name: tensor}} if `entry`
/// is given (Detectron2 wants "model"). Tensors are written dense, of any dtype, from any device; the same input gives
/// the same bytes. The file appears whole. Throws Error if a tensor is undefined or a name is no UTF-8.
void save_pth(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
              const std::string& entry = "");

}  // namespace usol::io
