#pragma once
// safetensors files: named tensors behind a JSON header. Read memory-mapped, written deterministically.
// Source: https://github.com/huggingface/safetensors, section "Format".

#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "usol/io/shared_bytes.h"
#include "usol/io/stored_array.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

struct SafetensorsContent {
  std::map<std::string, Tensor> tensors;        // CPU, row-major, pointing into the file where alignment allows
  std::map<std::string, std::string> metadata;  // the header's "__metadata__"
  std::set<StoredType> widened;                 // types that some tensors are stored as, and no Tensor has
};

/// Reads a whole file. i8, i16, u16 and u32 tensors are widened (io/stored_array.h).
/// Throws Error(kFormat) naming file and tensor if the header is no valid JSON of the format, a name occurs twice,
/// sizes disagree, or the tensors overlap or leave gaps; Error(kUnsupported) for other dtypes (u64, f8 ...).
SafetensorsContent parse_safetensors(const SharedBytes& file);
/// parse_safetensors of a file. Throws Error(kIo) as well.
SafetensorsContent read_safetensors(const std::filesystem::path& path);
/// Only the tensors of read_safetensors().
std::map<std::string, Tensor> load_safetensors(const std::filesystem::path& path);

/// Writes tensors of any dtype, strides and device; the same input gives the same bytes. The file appears whole
/// (io/atomic_file.h). Throws Error if a tensor is undefined or a name is no UTF-8 or is "__metadata__".
void save_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace usol::io
