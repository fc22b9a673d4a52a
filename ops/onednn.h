#pragma once
// The thin wrapper over oneDNN, the CPU's cuDNN. It compiles with 2.6 (Debian 12), 3.1 (Ubuntu 24.04) and 3.7
// (Debian 13); the APIs of 2 and 3 differ. Only the files ops/onednn*.cc (and onednn_engine.h, which is theirs) see
// oneDNN's headers.

#if defined(USOL_WITH_ONEDNN)

#include "usol/ops/conv2d.h"
#include "usol/ops/gemm.h"

namespace usol {

/// True if this CPU multiplies bf16 (AVX512-BF16) and oneDNN may use that: ONEDNN_MAX_CPU_ISA can forbid it.
bool onednn_has_bf16();
/// True if it multiplies bf16 by tiles (AMX), several times as fast as AVX512-BF16 does.
bool onednn_has_amx();
/// True if oneDNN computes bf16 at all: with AVX-512 it emulates the products, slowly. For tests.
bool onednn_computes_bf16();

/// False for products that must go to our own kernel: some version of oneDNN computes them wrongly
/// (ops/onednn_limits.cc). Of sizes and layouts only.
template <class T>
bool onednn_takes(const Gemm<T>& g);
/// Products with bias, accumulation and activation fused; primitives are cached by shape. Source: oneDNN's matmul.
void onednn_gemm(const Gemm<float>& g);
void onednn_gemm(const Gemm<bf16>& g);

enum class Conv2dPass { kForward, kGradInput, kGradWeight };
/// As above, for the pass of a convolution from x [N, C, H, W] to y [N, O, H', W']; false for dtypes that oneDNN has no
/// fast kernel for on this CPU, too.
bool onednn_takes(Conv2dPass pass, DType dtype, const Shape& x, const Shape& weight, const Shape& y,
                  const Conv2dOptions& options);
/// The kernels of ops/conv2d.h, for f32, and for bf16 where onednn_computes_bf16(). Primitives are cached by shape;
/// packed weights of inference (recording is off) are kept while the weight lives and is unchanged. Source: oneDNN's
/// convolution.
void onednn_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                   bool accumulate, Tensor& out);
/// Without bias and ReLU.
void onednn_conv2d_grad_input(const Tensor& grad, const Tensor& weight, const Conv2dOptions& options, Tensor& out);
void onednn_conv2d_grad_weight(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out);

}  // namespace usol

#endif

namespace usol {

/// True if products of bf16 are best left to oneDNN on this CPU: it is in use and multiplies by tiles (AMX).
bool onednn_multiplies_bf16_faster();

}  // namespace usol
