// Views, copies and casts of the storage layer.
#include "usol/tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "usol/tensor/allocator.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

Tensor iota(const Shape& shape) { return Tensor::arange(shape.numel(), DType::kF32).reshape(shape); }

TEST(Tensor, ViewsShareStorage) {
  Tensor t = iota({2, 3, 4});
  Tensor view = t.transpose(0, 2).slice(0, 1, 4, 2);  // [2, 3, 2]
  EXPECT_EQ(view.shape(), (Shape{2, 3, 2}));
  EXPECT_EQ(view.to_vector<float>(), (std::vector<float>{1, 13, 5, 17, 9, 21, 3, 15, 7, 19, 11, 23}));
  view.fill(-1);
  EXPECT_EQ(t.select(0, 1).select(0, 2).to_vector<float>(), (std::vector<float>{20, -1, 22, -1}));
}

TEST(Tensor, ReshapeIsAViewWhereStridesAllowAndACopyElsewhere) {
  const Tensor t = iota({2, 3, 4});
  EXPECT_EQ(t.reshape({6, 4}).raw(), t.raw());
  EXPECT_EQ(t.slice(2, 0, 2).reshape({6, 2}).raw(), t.raw());
  const Tensor copied = t.transpose(1, 2).reshape({2, 12});
  EXPECT_NE(copied.raw(), t.raw());
  EXPECT_EQ(copied.to_vector<float>()[1], 4);
  EXPECT_EQ(t.reshape({-1, 2}).shape(), (Shape{12, 2}));
  EXPECT_THROW(t.reshape({5, -1}), Error);
  EXPECT_THROW(t.reshape({5, 5}), Error);
}

TEST(Tensor, ExpandRepeatsWithStrideZero) {
  const Tensor t = iota({3, 1}).expand({2, 3, 2});
  EXPECT_EQ(t.to_vector<float>(), (std::vector<float>{0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2}));
  EXPECT_THROW(iota({3}).expand({2}), Error);
}

TEST(Tensor, CastsRoundToNearestEven) {
  const Tensor t = Tensor::from<float>({1.00048828125f, 65520.f, 1e-8f, -0.f, 3.14159f}, {5});
  const auto back = t.to(DType::kF16).to(DType::kF32).to_vector<float>();
  EXPECT_EQ(back[0], 1.0f);  // halfway: even
  EXPECT_TRUE(std::isinf(back[1]));
  EXPECT_EQ(back[2], 0.0f);
  EXPECT_TRUE(std::signbit(back[3]));
  EXPECT_EQ(t.to(DType::kBF16).to(DType::kF32).to_vector<float>()[4], 3.140625f);
  EXPECT_EQ(Tensor::from<float>({2.9f, -2.9f}, {2}).to(DType::kI32).to_vector<std::int32_t>(),
            (std::vector<std::int32_t>{2, -2}));
}

TEST(Tensor, F16CoversEveryBitPattern) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    f16 h;
    h.bits = static_cast<std::uint16_t>(bits);
    const float value = h;
    if (std::isnan(value)) continue;
    ASSERT_EQ(f16(value).bits, bits);
  }
}

TEST(Tensor, LongRowsAreSharedBetweenThreads) {
  const std::int64_t n = 1 << 20;
  const Tensor t = Tensor::arange(n, DType::kI64).to(DType::kF64);
  const double* data = t.data<double>();
  for (std::int64_t i = 0; i < n; i += 997) ASSERT_EQ(data[i], static_cast<double>(i));
}

TEST(Tensor, ErrorsNameShapesAndDtypes) {
  const Tensor t = iota({2, 2});
  try {
    t.data<double>();
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "tensor: expected dtype f64, got f32 with shape [2, 2]");
  }
  EXPECT_THROW(t.slice(0, 1, 3), Error);
  EXPECT_THROW(t.as_strided({2, 2}, {4, 1}, 0), Error);
  EXPECT_THROW((Shape{1L << 40, 1L << 40}.numel()), Error);
  EXPECT_THROW(Tensor::empty({2}, DType::kF32, Device{DeviceType::kCuda, 99}), Error);
}

TEST(Allocator, CountsLiveAndPeakBytes) {
  Allocator& cpu = allocator(DeviceType::kCpu);
  const auto before = cpu.stats();
  cpu.reset_peak();
  {
    const Tensor t = Tensor::empty({1000});
    EXPECT_EQ(cpu.stats().live_bytes, before.live_bytes + 4000);
  }
  EXPECT_EQ(cpu.stats().live_bytes, before.live_bytes);
  EXPECT_EQ(cpu.stats().peak_bytes, before.live_bytes + 4000);
}

// Pages that nobody writes cost nothing, so this allocates no real memory.
TEST(Allocator, BlocksOfThePeakAreReused) {
  Allocator& cpu = allocator(DeviceType::kCpu);
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  std::vector<void*> first, second;
  for (int i = 0; i < 3; ++i) first.push_back(cpu.allocate(kBytes, 0));
  for (void* block : first) cpu.deallocate(block, kBytes, 0);
  for (int i = 0; i < 3; ++i) second.push_back(cpu.allocate(kBytes, 0));
#if !defined(__SANITIZE_ADDRESS__)  // which reuses nothing
  EXPECT_EQ(std::set<void*>(first.begin(), first.end()), std::set<void*>(second.begin(), second.end()));
#endif
  for (void* block : second) cpu.deallocate(block, kBytes, 0);
  cpu.release_cached();
}

// The maps of pictures of nearly one size find each other's blocks, and a block keeps its size.
TEST(Allocator, BlocksServeSlightlySmallerOnes) {
  Allocator& cpu = allocator(DeviceType::kCpu);
  cpu.release_cached();
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  void* const first = cpu.allocate(kBytes, 0);
  cpu.deallocate(first, kBytes, 0);
  void* const smaller = cpu.allocate(kBytes * 7 / 8, 0);
  cpu.deallocate(smaller, kBytes * 7 / 8, 0);
  void* const half = cpu.allocate(kBytes / 2, 0);  // would waste the other half
  void* const again = cpu.allocate(kBytes, 0);
#if !defined(__SANITIZE_ADDRESS__)  // which reuses nothing
  EXPECT_EQ(smaller, first);
  EXPECT_NE(half, first);
  EXPECT_EQ(again, first);
#endif
  cpu.deallocate(half, kBytes / 2, 0);
  cpu.deallocate(again, kBytes, 0);
  cpu.release_cached();
}

TEST(Allocator, GuardsCatchWritesPastTheEnd) {
  const GuardedAllocations guards;
  {
    Tensor t = Tensor::empty({10});
    t.mutable_data<float>()[9] = 1;
  }
  EXPECT_EQ(guards.violations(), 0);
  {
    Tensor t = Tensor::empty({10});
    reinterpret_cast<volatile float*>(t.mutable_data<float>())[10] = 1;
  }
  EXPECT_EQ(guards.violations(), 1);
}

}  // namespace
}  // namespace usol
