// bf16 attention: the algorithm with emulated products against f64, and with the instruction against the emulation, bit
// for bit.
#include "usol/ops/attention_bf16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/op_case.h"
#include "usol/models/vit.h"
#include "usol/ops/attention.h"
#include "usol/tensor/parallel.h"

namespace usol::test {
namespace {

// Sets the products of attention() for a scope.
class Products {
 public:
  explicit Products(const Bf16Products* products) { set_bf16_products(products); }
  ~Products() { set_bf16_products(before_); }

 private:
  const Bf16Products* before_ = bf16_products();
};

std::vector<std::uint16_t> attend(const Bf16Products* products, const Tensors& in) {
  const Products set(products);
  std::vector<std::uint16_t> bits;
  for (const bf16 x : attention(in[0], in[1], in[2]).contiguous().to_vector<bf16>()) bits.push_back(x.bits);
  return bits;
}

const Shape kCases[][2] = {{{2, 3, 5, 8}, {2, 3, 7, 8}},
                           {{1, 2, 100, 64}, {1, 2, 315, 64}},
                           {{1, 5, 50, 21}, {1, 5, 33, 21}},
                           {{1, 1, 3, 130}, {1, 1, 1, 130}}};

TEST(AttentionBf16, IsNearTheExactResult) {
  for (const auto& [q, k] : kCases) {
    const Tensors in = make_inputs({{q, -3, 3}, {k, -3, 3}, {k}}, DType::kBF16, {});
    const Products set(emulated_bf16_products());
    const Tensor exact = attention(in[0].to(DType::kF64), in[1].to(DType::kF64), in[2].to(DType::kF64));
    // Weights are within 6.6e-3, which is nearly 2^-7, and their errors cancel in part; results are rounded to 8 bits.
    EXPECT_LE(relative_error(attention(in[0], in[1], in[2]).to(DType::kF64), exact), 0x1p-8 * 2) << to_string(k);
  }
}

TEST(AttentionBf16, ThreadsDoNotChangeTheBits) {
  const Tensors in = make_inputs({{{1, 3, 130, 32}}, {{1, 3, 300, 32}}, {{1, 3, 300, 32}}}, DType::kBF16, {});
  const auto two = attend(emulated_bf16_products(), in);
  set_thread_count(1);
  const auto one = attend(emulated_bf16_products(), in);
  set_thread_count(0);
  EXPECT_EQ(one, two);
}

TEST(AttentionBf16, LargeScoresDoNotOverflow) {
  const Products set(emulated_bf16_products());
  const Tensor q = Tensor::full({1, 1, 2, 4}, 100, DType::kBF16), k = Tensor::full({1, 1, 300, 4}, 100, DType::kBF16);
  Tensor v = Tensor::zeros({1, 1, 300, 4}, DType::kBF16);
  v.select(2, 7).fill(300);
  for (const bf16 x : attention(q, k, v).contiguous().to_vector<bf16>()) EXPECT_NEAR(x, 1.0f, 0x1p-8f);
}

TEST(AttentionBf16, RowSumsServeTheGradient) {
  const Tensors in = make_inputs({{{1, 1, 9, 16}}, {{1, 1, 70, 16}}, {{1, 1, 70, 16}}}, DType::kBF16, {});
  const auto q = in[0].to_vector<bf16>(), k = in[1].to_vector<bf16>(), v = in[2].to_vector<bf16>();
  std::vector<bf16> out(9 * 16);
  std::vector<float> log_sum(9);
  const Bf16AttentionHead head{q.data(), k.data(), v.data(), out.data(), log_sum.data(), 16, 16, 16, 16};
  attention_bf16(*emulated_bf16_products(), &head, 1, 9, 70, 16, 0.25f);
  for (std::size_t r = 0; r < 9; ++r) {
    double sum = 0;
    for (std::size_t j = 0; j < 70; ++j) {
      double dot = 0;
      for (std::size_t d = 0; d < 16; ++d)
        dot += static_cast<double>(q[r * 16 + d]) * static_cast<double>(k[j * 16 + d]);
      sum += std::exp(dot * 0.25);
    }
    EXPECT_NEAR(log_sum[r], std::log(sum), 1e-3);  // of the weights as rounded, whose errors cancel for the most part
  }
}

// The largest scores come after the first keys, which the weights are relative to, and far above them: by 2^1 to
// 2^2000.
TEST(AttentionBf16, LaterKeysMayCountForMore) {
  for (const float more : {1.0f, 43.5f, 60.0f, 90.0f, 700.0f, 2000.0f}) {
    const std::int64_t keys = 2300;  // over two chunks
    Tensor q = Tensor::full({1, 1, 8, 4}, 1, DType::kF32), k = Tensor::zeros({1, 1, keys, 4}, DType::kF32);
    const Tensor v = make_inputs({{{1, 1, keys, 4}}}, DType::kBF16, {})[0];
    k.slice(2, 70, 71).fill(more / 2);
    k.slice(2, 1500, 1600).fill(more);
    const Tensors in{q.to(DType::kBF16), k.to(DType::kBF16), v};
    const Products set(emulated_bf16_products());
    const Tensor exact = attention(in[0].to(DType::kF64), in[1].to(DType::kF64), in[2].to(DType::kF64));
    EXPECT_LE(relative_error(attention(in[0], in[1], in[2]).to(DType::kF64), exact), 0x1p-8 * 2) << more;
  }
}

// Scores so large that no smaller one has a weight, at all and beside keys that are not there.
TEST(AttentionBf16, HugeScoresChooseOneKey) {
  const Products set(emulated_bf16_products());
  for (const float size : {0x1p12f, 0x1p20f, 0x1p40f}) {
    const Tensor q = Tensor::full({1, 1, 2, 4}, size, DType::kBF16);
    Tensor k = Tensor::full({1, 1, 70, 4}, -size, DType::kBF16), v = k.clone();
    for (const std::int64_t key : {3, 69}) {
      k.fill(-size);
      k.select(2, key).fill(size);
      v.fill(1);
      v.select(2, key).fill(5);
      for (const bf16 x : attention(q, k, v).contiguous().to_vector<bf16>()) EXPECT_EQ(x, 5.0f) << size << ' ' << key;
    }
  }
}

// A key of NaN is part of every row; one query's leaves the others alone.
TEST(AttentionBf16, NaNsStay) {
  const Products set(emulated_bf16_products());
  for (const std::int64_t key : {2, 75}) {
    Tensors in = make_inputs({{{1, 1, 8, 16}}, {{1, 1, 90, 16}}, {{1, 1, 90, 16}}}, DType::kBF16, {});
    in[1].select(2, key).fill(NAN);
    for (const bf16 x : attention(in[0], in[1], in[2]).contiguous().to_vector<bf16>())
      EXPECT_TRUE(std::isnan(float{x}));
  }
  Tensors in = make_inputs({{{1, 1, 8, 16}}, {{1, 1, 90, 16}}, {{1, 1, 90, 16}}}, DType::kBF16, {});
  in[0].select(2, 4).fill(NAN);
  const auto found = attention(in[0], in[1], in[2]).contiguous().to_vector<bf16>();
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(std::isnan(float{found[i]}), i / 16 == 4) << i;
}

TEST(AttentionBf16, TheInstructionGivesTheEmulationsBits) {
  const Bf16Products* products = avx512_bf16_products();
  if (!products) GTEST_SKIP() << "this CPU has no AVX512-BF16";
  for (const auto& [q, k] : kCases) {
    const Tensors in = make_inputs({{q, -3, 3}, {k, -3, 3}, {k}}, DType::kBF16, {});
    EXPECT_EQ(attend(products, in), attend(emulated_bf16_products(), in)) << to_string(k);
  }
}

// Each row is computed by itself, so that tiles of more rows give the same bits.
TEST(AttentionBf16, TilesOfAnyHeightGiveTheSameBits) {
  for (const int rows : {7, 16, 32}) {
    Bf16Products products = *emulated_bf16_products();
    products.rows = rows;
    for (const auto& [q, k] : kCases) {
      const Tensors in = make_inputs({{q, -3, 3}, {k, -3, 3}, {k}}, DType::kBF16, {});
      EXPECT_EQ(attend(&products, in), attend(emulated_bf16_products(), in)) << rows << " rows, " << to_string(k);
    }
  }
}

TEST(AttentionBf16, TheCpusTilesAreNearTheExactResult) {
  const Bf16Products* products = amx_bf16_products();
  if (!products) GTEST_SKIP() << "this CPU has no AMX";
  for (const auto& [q, k] : kCases) {
    const Tensors in = make_inputs({{q, -3, 3}, {k, -3, 3}, {k}}, DType::kBF16, {});
    const Products set(products);
    const Tensor exact = attention(in[0].to(DType::kF64), in[1].to(DType::kF64), in[2].to(DType::kF64));
    EXPECT_LE(relative_error(attention(in[0], in[1], in[2]).to(DType::kF64), exact), 0x1p-8 * 2) << to_string(k);
  }
}

// The whole transformer in bf16, as --precision bf16 runs it: products that round once, attention as above.
TEST(AttentionBf16, FeaturesAreWithinTwoPercentOfF32) {
  for (const char* file : {"vit_dino.safetensors", "vit_dinov2.safetensors"}) {
    const auto golden = load_golden(file);
    StateDict state;
    for (const auto& [name, tensor] : golden)
      if (name.starts_with("w.")) state[name.substr(2)] = tensor;
    const Tensor image = golden.at("larger.image");
    const Tensor expected = Vit::from_state(state, file).features(image, FeatureKind::kK);
    const Products set(emulated_bf16_products());
    const Vit vit = Vit::from_state(state, file, Device::cpu(), DType::kBF16);
    const double error = relative_error(vit.features(image, FeatureKind::kK), expected);
    EXPECT_LE(error, 2e-2) << file;
    EXPECT_GT(error, 1e-5) << file << ": that was not bf16";
  }
}

}  // namespace
}  // namespace usol::test
