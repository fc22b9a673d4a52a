// NCCL's sums with the one rank that a machine with one GPU has. Linked into usol_tests_cuda only.
#include <gtest/gtest.h>

#include <future>
#include <vector>

#include "usol/ops/elementwise.h"
#include "usol/tensor/device_count.h"
#include "usol/tensor/error.h"
#include "usol/train/device_sums.h"

namespace usol::train {
namespace {

class CudaNccl : public testing::Test {
 protected:
  void SetUp() override {
    if (!device_sums_library()) GTEST_SKIP() << "this build has no NCCL";
    if (device_count(DeviceType::kCuda) == 0) GTEST_SKIP() << "no CUDA device";
  }
};

TEST_F(CudaNccl, SumsOfOneRankAreItsValues) {
  const Device device = Device::cuda(0);
  const auto sums = device_sums_library()->join(device_sums_library()->make_id(), 0, 1, device);
  std::vector<Tensor> tensors;
  std::vector<std::future<void>> started;
  for (const DType dtype : {DType::kF32, DType::kF64})
    for (const std::int64_t count : {1, 1000, 7 << 20}) {
      // Queued just before on the current stream: the sum must wait for it.
      tensors.push_back(affine(Tensor::full({count}, 2, dtype, device), 3, 1));
      started.push_back(sums->start(tensors.back()));
    }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    started[i].get();
    const Tensor host = affine(tensors[i], 2, 0).to(Device::cpu());
    for (const std::int64_t at : {std::int64_t{0}, host.numel() / 2, host.numel() - 1})
      EXPECT_EQ(host.slice(0, at, at + 1).item(), 14) << i;
  }
}

TEST_F(CudaNccl, ARankThatCannotBeIsAnErrorWithItsText) {
  try {
    device_sums_library()->join(device_sums_library()->make_id(), 3, 1, Device::cuda(0));
    FAIL() << "joined as rank 3 of 1";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("NCCL says"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace usol::train
