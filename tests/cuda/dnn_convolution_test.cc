// What can be checked of cuDNN's convolutions without running them: that cuDNN has engines for the detector's layers on
// an H100 described to it, with bias and ReLU fused. Linked into usol_tests_cuda only.
#include "usol/tensor/cuda/dnn_convolution.h"

#include <gtest/gtest.h>

#include "tests/cuda/h100.h"
#include "usol/tensor/device_count.h"

namespace usol::cuda {
namespace {

// Square kernels that keep the map's size at stride 1.
ConvolutionShape layer(ConvolutionPass pass, DType dtype, std::int64_t c, std::int64_t o, std::int64_t kernel,
                       std::int64_t stride, std::int64_t h, std::int64_t w) {
  ConvolutionShape s;
  s.pass = pass;
  s.dtype = dtype;
  s.n = 2, s.c = c, s.h = h, s.w = w, s.o = o, s.kh = s.kw = kernel;
  s.out_h = (h - 1) / stride + 1, s.out_w = (w - 1) / stride + 1;
  s.stride = {stride, stride};
  s.padding = {kernel / 2, kernel / 2};
  return s;
}

TEST(DnnConvolution, CudnnHasEnginesForTheDetectorOnHopper) {
  if (device_count(DeviceType::kCuda) == 0) GTEST_SKIP() << "no CUDA device to ask for engines";
  const DnnTarget h100{nullptr, kH100};
  const auto engines = [&](const ConvolutionShape& s, bool tensor_cores) {
    return DnnPlan::configurations(h100, dnn_convolution_operations(s), {tensor_cores}).size();
  };
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const ConvolutionPass pass :
         {ConvolutionPass::kForward, ConvolutionPass::kGradInput, ConvolutionPass::kGradWeight}) {
      for (const bool tensor_cores : {true, false}) {
        if (dtype != DType::kF32 && !tensor_cores) continue;
        EXPECT_GT(engines(layer(pass, dtype, 3, 64, 7, 2, 800, 1216), tensor_cores), 0u);
        EXPECT_GT(engines(layer(pass, dtype, 256, 64, 1, 1, 200, 304), tensor_cores), 0u);
        EXPECT_GT(engines(layer(pass, dtype, 128, 128, 3, 2, 200, 304), tensor_cores), 0u);
      }
    }
    ConvolutionShape fused = layer(ConvolutionPass::kForward, dtype, 256, 256, 3, 1, 200, 304);
    fused.bias = fused.relu = true;
    EXPECT_GT(engines(fused, true), 0u);
  }
}

}  // namespace
}  // namespace usol::cuda
