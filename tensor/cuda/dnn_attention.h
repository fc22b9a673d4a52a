#pragma once
// The graph of one fused attention, apart from running it: tests build it for a described device without a GPU.

#include <optional>

#include "usol/tensor/cuda/dnn_graph.h"

namespace usol::cuda {

/// What a plan for attention depends on. Strides in elements, of [N, H, L, D].
struct AttentionShape {
  DType dtype = DType::kBF16;
  std::int64_t n = 0, heads = 0, queries = 0, keys = 0, width = 0;
  Shape q_strides, k_strides, v_strides, out_strides;
  bool log_sum = false;
};

inline constexpr std::int64_t kUidQ = 1, kUidK = 2, kUidV = 3, kUidOut = 4, kUidScale = 5, kUidLogSum = 6;

/// True if cuDNN may be asked: f16 or bf16, widths that are multiples of 8 up to 128, lengths of 64 and more (shorter
/// ones gain nothing), dense last dimensions and strides that keep rows 16-byte aligned.
bool dnn_attention_takes(const AttentionShape& shape);
/// The operation; the shape must be taken.
DnnDescriptor dnn_attention_operation(const AttentionShape& shape);

}  // namespace usol::cuda
