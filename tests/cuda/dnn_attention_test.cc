// What can be checked of cuDNN's fused attention without a GPU: that it is asked for the right shapes, and that cuDNN
// has engines for the graph on GPUs described to it. Linked into usol_tests_cuda only.
#include "usol/tensor/cuda/dnn_attention.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "tests/cuda/devices.h"

namespace usol::cuda {
namespace {

// q, k and v as views of one [N, L, 3, H, D], out as a view of [N, L, H, D]: what models/vit makes.
AttentionShape packed(DType dtype, std::int64_t n, std::int64_t heads, std::int64_t length, std::int64_t width) {
  const std::int64_t row = 3 * heads * width;
  const Shape strides{length * row, width, row, 1};
  return {dtype, n,       heads,   length,  length,
          width, strides, strides, strides, {length * heads * width, width, heads * width, 1},
          false};
}

TEST(DnnAttention, TakesWhatViTsNeed) {
  EXPECT_TRUE(dnn_attention_takes(packed(DType::kBF16, 8, 12, 3601, 64)));
  EXPECT_TRUE(dnn_attention_takes(packed(DType::kF16, 1, 6, 901, 64)));
  EXPECT_FALSE(dnn_attention_takes(packed(DType::kF32, 1, 6, 901, 64)));
  EXPECT_FALSE(dnn_attention_takes(packed(DType::kBF16, 1, 6, 901, 20)));
  EXPECT_FALSE(dnn_attention_takes(packed(DType::kBF16, 1, 6, 63, 64)));
  AttentionShape odd = packed(DType::kBF16, 1, 6, 901, 64);
  odd.k_strides[2] += 1;
  EXPECT_FALSE(dnn_attention_takes(odd));
}

// cuDNN compiles these engines at run time and wants a driver's library for that. Where there is none, the one that the
// toolkit has for linking does: nothing of it is run here.
TEST(DnnAttention, CudnnHasEnginesForThem) {
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) == nullptr &&
      dlopen(USOL_CUDA_STUB, RTLD_NOW | RTLD_GLOBAL) == nullptr)
    GTEST_SKIP() << "neither a driver nor " << USOL_CUDA_STUB;
  for (const DescribedGpu& gpu : kDescribedGpus)
    for (const DType dtype : {DType::kBF16, DType::kF16})
      for (AttentionShape shape : {packed(dtype, 8, 12, 3601, 64), packed(dtype, 1, 6, 197, 64),
                                   packed(dtype, 2, 24, 1370, 64), packed(dtype, 1, 16, 901, 80)})
        for (const bool log_sum : {false, true}) {
          shape.log_sum = log_sum;
          const DnnTarget target{nullptr, gpu.json()};
          EXPECT_FALSE(DnnPlan::configurations(target, {dnn_attention_operation(shape)}, {}).empty())
              << gpu.name << " " << shape.width << " " << log_sum;
        }
}

}  // namespace
}  // namespace usol::cuda
