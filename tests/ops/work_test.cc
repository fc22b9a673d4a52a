// What the op cases say of the work of a call (bench_work), from which bench/roof.py tells how near a GPU comes to its
// roof.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "tests/support/devices.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/tensor/kernel.h"

namespace usol::test {
namespace {

TEST(Work, CountsWhatIsReadAndWritten) {
  OpCase op_case;
  op_case.bench_inputs = {{{3, 8}}, {{3, 8}, 0, 2, DType::kBool}, {.shape = {50, 2}, .read = 0.25}};
  op_case.bench_flop = 7;
  for (const auto& [dtype, bytes] : std::map<DType, double>{{DType::kF32, 4}, {DType::kBF16, 2}, {DType::kF64, 8}}) {
    const Tensors inputs = make_inputs(op_case.bench_inputs, dtype, Device::cpu());
    const Work work = bench_work(op_case, inputs, Tensor::zeros({5}, DType::kI64));
    EXPECT_EQ(work.bytes, 24 * bytes + 24 * 1 + 25 * bytes + 5 * 8) << to_string(dtype);
    EXPECT_EQ(work.flop, 7);
  }
}

// The operations that the arithmetic units' roof is about, written out from the shapes of a ViT-B/8 at 480 pixels and
// of a detector at 800 x 1216.
const std::map<std::string, double> kProducts = {
    {"matmul", 2.0 * 3601 * 768 * 3072},
    {"matmul_batched", 2.0 * 12 * 3601 * 64 * 3601},
    {"linear", 2.0 * 3601 * 768 * 3072},
    {"linear_gelu", 2.0 * 3601 * 768 * 3072},
    {"linear_relu", 2.0 * 3601 * 768 * 3072},
    {"attention", 2 * 2.0 * 12 * 3601 * 3601 * 64},  // scores, and their sums of values
    {"conv2d_3x3", 2.0 * 100 * 152 * 256 * 256 * 9},
    {"conv2d_1x1_relu", 2.0 * 200 * 304 * 256 * 64},
    {"conv2d_stem", 2.0 * 400 * 608 * 3 * 64 * 49},
    {"conv_transpose2d_2x2_relu", 2.0 * 100 * 14 * 14 * 256 * 256 * 4},
};

// Runs each timed case in small, and sees which kernels it calls.
void expect_products_counted(Device device) {
  const std::set<std::string> products = {"matmul", "linear", "conv2d", "conv2d_grad_input", "attention"};
  const NoGrad no_grad;
  std::set<std::string> seen;
  for (const OpCase& op_case : all_op_cases()) {
    if (op_case.bench_inputs.empty()) continue;
    ASSERT_EQ(op_case.bench_inputs.size(), op_case.inputs.size()) << op_case.name;
    for (const KernelSlot& slot : filled_kernel_slots()) slot.called->store(false);
    const Tensor output = op_case.op(make_inputs(op_case.inputs, DType::kF32, device));
    bool multiplies = false;
    for (const KernelSlot& slot : filled_kernel_slots())
      multiplies = multiplies || (slot.device == device.type && slot.called->load() && products.contains(slot.name));
    if (multiplies) seen.insert(op_case.name);
    EXPECT_EQ(op_case.bench_flop, multiplies ? kProducts.at(op_case.name) : 0) << op_case.name;
  }
  EXPECT_EQ(seen.size(), kProducts.size());
}

TEST(Work, ProductsCountTheirOperations) { expect_products_counted(Device::cpu()); }
TEST(CudaWork, ProductsCountTheirOperations) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device answers";
  expect_products_counted(Device::cuda());
}

}  // namespace
}  // namespace usol::test
