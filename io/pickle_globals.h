#pragma once
// The names a pickle may mention: what PyTorch, NumPy and Detectron2 write into files of weights, and plain settings.

#include <optional>
#include <string_view>

namespace usol {

/// The listed "module.name", with Python 2's and old NumPy's module names brought to today's ("numpy._core.multiarray.
/// _reconstruct"); nothing if it is not on the list. The view lives forever.
std::optional<std::string_view> allowed_pickle_global(std::string_view module, std::string_view name);

}  // namespace usol
