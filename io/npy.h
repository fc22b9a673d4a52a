#pragma once
// NumPy's .npy arrays: the stages of MaskCut are written as such, features may be read from them.
// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

#include <filesystem>

#include "usol/io/shared_bytes.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

/// Reads format versions 1 to 3, C and Fortran order, both byte orders. The tensor is row-major, on the CPU, and points
/// into the file where it can; i1, i2, u2 and u4 are widened (io/stored_array.h).
/// Throws Error(kFormat) naming file and place if the header is malformed or the size is not the header's;
/// Error(kUnsupported) for other element types (complex, text, records, objects: the latter are pickles).
Tensor parse_npy(const SharedBytes& file);
/// parse_npy of a file. Throws Error(kIo) as well.
Tensor load_npy(const std::filesystem::path& path);

/// Writes a tensor of any strides and device as version 1.0, C order, little-endian; the same tensor gives the same
/// bytes. bf16, which NumPy lacks, is written as f4 (exact). The file appears whole. Throws Error(kIo).
void save_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace usol::io
