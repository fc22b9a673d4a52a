// What can be checked of cuDNN's fused attention without a GPU: that it is asked for the right shapes, and that cuDNN
// has engines for the graph on an H100 described to it. Linked into usol_tests_cuda only.
#include "usol/tensor/cuda/dnn_attention.h"

#include <gtest/gtest.h>

#include "tests/cuda/h100.h"
#include "usol/tensor/device_count.h"

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

TEST(DnnAttention, CudnnHasEnginesForThemOnHopper) {
  if (device_count(DeviceType::kCuda) == 0) GTEST_SKIP() << "no CUDA device to ask for engines";
  const DnnTarget h100{nullptr, kH100};
  for (AttentionShape shape : {packed(DType::kBF16, 8, 12, 3601, 64), packed(DType::kF16, 1, 6, 197, 64)}) {
    for (const bool log_sum : {false, true}) {
      shape.log_sum = log_sum;
      EXPECT_FALSE(DnnPlan::configurations(h100, {dnn_attention_operation(shape)}, {}).empty()) << log_sum;
    }
  }
}

}  // namespace
}  // namespace usol::cuda
