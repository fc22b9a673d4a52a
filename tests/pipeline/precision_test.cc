// Which arithmetic a name stands for, on the CPU that runs this.
#include "usol/pipeline/precision.h"

#include <gtest/gtest.h>

#include "usol/ops/bf16_products.h"
#include "usol/ops/gemm.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

bool multiplies_bf16() { return avx512_bf16_products() != nullptr && has_backend(GemmBackend::kOneDnn); }

TEST(Precision, AutoIsBf16WhereTheCpuMultipliesIt) {
  EXPECT_EQ(precision_on(Device::cpu(), "auto"), multiplies_bf16() ? DType::kBF16 : DType::kF32);
}

TEST(Precision, AutoTrainsInF32OnACpu) { EXPECT_EQ(precision_on(Device::cpu(), "auto", true), DType::kF32); }

TEST(Precision, WhatTheCpuLacksIsAnError) {
  EXPECT_EQ(precision_on(Device::cpu(), "f32"), DType::kF32);
  EXPECT_THROW(precision_on(Device::cpu(), "f16"), Error);
  EXPECT_THROW(precision_on(Device::cpu(), "tf32"), Error);
  if (multiplies_bf16())
    EXPECT_EQ(precision_on(Device::cpu(), "bf16"), DType::kBF16);
  else
    EXPECT_THROW(precision_on(Device::cpu(), "bf16"), Error);
}

}  // namespace
}  // namespace usol::test
