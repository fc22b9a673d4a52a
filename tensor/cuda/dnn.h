#pragma once
// Operations that cuDNN does better than kernels of ours, through its backend graph API. Each returns false when cuDNN
// has nothing for the dtype or shape; that depends on them alone, so a call takes the same path in every run.

#include <array>
#include <cstdint>

#include "usol/tensor/cuda/launch.h"
#include "usol/tensor/tensor.h"

namespace usol::cuda {

/// ops/attention.h's kernel: softmax(q k' scale) v for f16 and bf16, head widths that are multiples of 8 up to 128, and
/// at least 2 keys. log_sum [N, H, Lq] f32 may be undefined.
bool dnn_attention(const Queue& queue, const Tensor& q, const Tensor& k, const Tensor& v, double scale, Tensor& out,
                   Tensor& log_sum);

/// ops/conv2d.h's options; pairs are (height, width).
struct DnnConvolution {
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  std::int64_t groups = 1;
};

/// ops/conv2d.h's kernels for f16, bf16 and f32 (in TF32 only under Tf32Mode) without groups. Maps lie in memory as
/// [N, H, W, C]; `weight` is dense [O, kh, kw, C], the order cuDNN wants. Bias and ReLU are fused: false where cuDNN
/// has no engine for all three together.
bool dnn_convolution(const Queue& queue, const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const DnnConvolution& options, bool relu, Tensor& out);
bool dnn_convolution_grad_input(const Queue& queue, const Tensor& grad, const Tensor& weight,
                                const DnnConvolution& options, Tensor& out);
bool dnn_convolution_grad_weight(const Queue& queue, const Tensor& x, const Tensor& grad, const DnnConvolution& options,
                                 Tensor& out);

}  // namespace usol::cuda
