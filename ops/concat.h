#pragma once
// Joining tensors along a dimension, and cutting them apart.

#include <cstdint>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol {

/// The tensors one after the other along `dim`; at least one, of one dtype and device, equal in all other sizes (an
/// empty one of another size there is an Error too). Gradients to all. Throws Error naming both shapes.
Tensor concat(const std::vector<Tensor>& tensors, int dim = 0);
/// Tensors of one shape along a new dimension `dim`. Gradients to all.
Tensor stack(const std::vector<Tensor>& tensors, int dim = 0);
/// Views of consecutive pieces of `dim` with these sizes. Gradients from each. Throws Error if they do not add up.
std::vector<Tensor> split(const Tensor& a, const std::vector<std::int64_t>& sizes, int dim = 0);

}  // namespace usol
