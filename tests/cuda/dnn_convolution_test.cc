// What can be checked of cuDNN's convolutions without running them: that cuDNN has plans for the layers of a detector,
// with bias and ReLU fused, on GPUs described to it; for which it needs neither GPU nor driver. Linked into
// usol_tests_cuda only.
#include "usol/tensor/cuda/dnn_convolution.h"

#include <gtest/gtest.h>

#include "tests/cuda/devices.h"

namespace usol::cuda {
namespace {

// Square kernels that keep the map's size at stride 1.
ConvolutionShape layer(ConvolutionPass pass, DType dtype, std::int64_t n, std::int64_t c, std::int64_t o,
                       std::int64_t kernel, std::int64_t stride, std::int64_t h, std::int64_t w) {
  ConvolutionShape s;
  s.pass = pass;
  s.dtype = dtype;
  s.n = n, s.c = c, s.h = h, s.w = w, s.o = o, s.kh = s.kw = kernel;
  s.out_h = (h - 1) / stride + 1, s.out_w = (w - 1) / stride + 1;
  s.stride = {stride, stride};
  s.padding = {kernel / 2, kernel / 2};
  return s;
}

void expect_plans(const DescribedGpu& gpu, ConvolutionPass pass, DType dtype, bool tensor_cores) {
  SCOPED_TRACE(std::string(gpu.name) + " " + to_string(dtype) + (tensor_cores ? "" : " without tensor cores"));
  constexpr std::size_t kMostWorkspace = std::size_t{1} << 30;
  for (ConvolutionShape s :
       {layer(pass, dtype, 2, 3, 64, 7, 2, 800, 1216), layer(pass, dtype, 2, 256, 64, 1, 1, 200, 304),
        layer(pass, dtype, 2, 128, 128, 3, 2, 200, 304), layer(pass, dtype, 512, 256, 256, 3, 1, 14, 14),
        layer(pass, dtype, 1, 257, 3, 3, 1, 25, 38), layer(pass, dtype, 2, 256, 3, 1, 1, 13, 19)}) {
    s.bias = s.relu = pass == ConvolutionPass::kForward;
    const DnnPlan plan = DnnPlan::build({nullptr, gpu.json()}, dnn_convolution_operations(s), {tensor_cores});
    EXPECT_TRUE(static_cast<bool>(plan)) << s.c << " to " << s.o << " channels";
    EXPECT_LE(plan.workspace_bytes(), kMostWorkspace) << s.c << " to " << s.o << " channels";
  }
}

TEST(DnnConvolution, CudnnHasPlansForADetector) {
  for (const DescribedGpu& gpu : kDescribedGpus)
    for (const ConvolutionPass pass :
         {ConvolutionPass::kForward, ConvolutionPass::kGradInput, ConvolutionPass::kGradWeight}) {
      for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) expect_plans(gpu, pass, dtype, true);
      expect_plans(gpu, pass, DType::kF32, false);
    }
}

}  // namespace
}  // namespace usol::cuda
