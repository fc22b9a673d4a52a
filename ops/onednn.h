#pragma once
// The thin wrapper over oneDNN, the CPU's cuDNN. It compiles with 2.6 (Debian 12) and 3.1 (Ubuntu 24.04), whose APIs
// differ. Only onednn.cc sees oneDNN's headers.

#if defined(USOL_WITH_ONEDNN)

#include "ops/gemm.h"

namespace usol {

/// Products with bias, accumulation and activation fused; primitives are cached by shape. Source: oneDNN's matmul.
void onednn_gemm(const Gemm<float>& g);
void onednn_gemm(const Gemm<bf16>& g);
/// True if this CPU multiplies bf16 (AVX512-BF16); elsewhere oneDNN would emulate it slowly.
bool onednn_has_bf16();

}  // namespace usol

#endif
