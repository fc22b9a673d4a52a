#pragma once
// The graphs of convolutions, apart from running them: tests build them for a described device without a GPU.

#include <array>
#include <compare>
#include <vector>

#include "usol/tensor/cuda/dnn.h"
#include "usol/tensor/cuda/dnn_graph.h"

namespace usol::cuda {

enum class ConvolutionPass { kForward, kGradInput, kGradWeight };

/// What a plan for a convolution depends on: x [N, C, H, W], weight [O, C, kh, kw], y [N, O, H', W'], all channels last
/// in memory.
struct ConvolutionShape {
  ConvolutionPass pass = ConvolutionPass::kForward;
  DType dtype = DType::kBF16;
  std::int64_t n = 0, c = 0, h = 0, w = 0, o = 0, kh = 0, kw = 0, out_h = 0, out_w = 0;
  std::array<std::int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  bool bias = false, relu = false;  // forward only
  auto operator<=>(const ConvolutionShape&) const = default;
};

inline constexpr std::int64_t kUidMap = 1, kUidWeight = 2, kUidResult = 3, kUidBias = 4;

/// The operations: the convolution (or its gradient by x or weight), then bias and ReLU if asked for.
std::vector<DnnDescriptor> dnn_convolution_operations(const ConvolutionShape& shape);

}  // namespace usol::cuda
