#pragma once
// What the tensors of a safetensors file are stored as, before they are widened to what a Tensor has.

#include <map>
#include <string>

#include "usol/io/shared_bytes.h"
#include "usol/io/stored_array.h"

namespace usol::io {

/// By name, from the header alone. Throws as parse_safetensors() for a header that is none.
std::map<std::string, StoredType> safetensors_types(const SharedBytes& file);

}  // namespace usol::io
