#pragma once
// The thin wrapper over oneDNN, the CPU's cuDNN. It compiles with 2.6 (Debian 12) and 3.1 (Ubuntu 24.04), whose APIs
// differ. Only the files ops/onednn*.cc (and onednn_engine.h, which is theirs) see oneDNN's headers.

#if defined(USOL_WITH_ONEDNN)

#include "usol/ops/conv2d.h"
#include "usol/ops/gemm.h"

namespace usol {

/// Products with bias, accumulation and activation fused; primitives are cached by shape. Source: oneDNN's matmul.
void onednn_gemm(const Gemm<float>& g);
void onednn_gemm(const Gemm<bf16>& g);
/// True if this CPU multiplies bf16 (AVX512-BF16); elsewhere oneDNN would emulate it slowly.
bool onednn_has_bf16();

/// The kernels of ops/conv2d.h, for f32, and for bf16 where onednn_has_bf16(). Primitives are cached by shape; packed
/// weights of inference (recording is off) are kept while the weight lives and is unchanged. Source: oneDNN's
/// convolution.
void onednn_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                   bool accumulate, Tensor& out);
/// Without bias and ReLU.
void onednn_conv2d_grad_input(const Tensor& grad, const Tensor& weight, const Conv2dOptions& options, Tensor& out);
void onednn_conv2d_grad_weight(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out);

}  // namespace usol

#endif
