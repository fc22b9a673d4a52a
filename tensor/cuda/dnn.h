#pragma once
// Operations that cuDNN does better than kernels of ours, through its backend graph API. Each returns false when cuDNN
// has nothing for the dtype or shape; that depends on them alone, so a call takes the same path in every run.

#include "tensor/cuda/launch.h"
#include "tensor/tensor.h"

namespace usol::cuda {

/// ops/attention.h's kernel: softmax(q k' scale) v for f16 and bf16, head widths that are multiples of 8 up to 128, and
/// at least 2 keys. log_sum [N, H, Lq] f32 may be undefined.
bool dnn_attention(const Queue& queue, const Tensor& q, const Tensor& k, const Tensor& v, double scale, Tensor& out,
                   Tensor& log_sum);

}  // namespace usol::cuda
