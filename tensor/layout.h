#pragma once
// The order of a tensor's dimensions in memory. Maps [N, C, H, W] may lie in memory as [N, H, W, C] ("channels last"):
// convolutions are fastest so, and all other ops take them as the strided tensors they are.

#include <vector>

#include "usol/tensor/tensor.h"

namespace usol {

/// True if a tensor of rank 4 lies densely in memory as [N, H, W, C]. Strides of dimensions of size 1 do not count.
bool is_channels_last(const Tensor& t);
/// Uninitialised [N, C, H, W], lying in memory as [N, H, W, C]. Throws Error unless the shape has rank 4.
Tensor empty_channels_last(const Shape& shape, DType dtype, Device device);
/// The same map, lying in memory as [N, H, W, C] with the strides of that order: itself, or a copy.
Tensor to_channels_last(const Tensor& t);
/// The elements of a channels-last map [N, C, H, W] as rows [N H W, C], a view. Throws Error if it is none.
Tensor channels_last_rows(const Tensor& t);

/// The dimensions from the largest stride to the smallest: t.permute(memory_order(t)) is row-major if t is dense.
std::vector<int> memory_order(const Tensor& t);
/// An uninitialised tensor with the shape, dtype and device of `t`, and with its order of dimensions where `t` is dense
/// in some order; row-major otherwise.
Tensor empty_like(const Tensor& t);
/// A dense copy in the same order of dimensions.
Tensor clone_like(const Tensor& t);

}  // namespace usol
