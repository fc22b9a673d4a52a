// nn/attention, nn/mlp and nn/transformer_block: parameter names, every kind beside its formula, hooks, and what may be
// overwritten.
#include "usol/nn/transformer_block.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/matmul.h"
#include "usol/ops/reduce.h"
#include "usol/ops/rope.h"
#include "usol/ops/softmax.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

using nn::MlpKind;
using test::make_inputs;
using test::relative_error;
using Words = std::vector<std::string>;

Tensor tokens(const Shape& shape) { return make_inputs({{shape, -1, 1}}, DType::kF32, {})[0]; }

TEST(TransformerBlock, NamesAreThoseOfTimm) {
  ParamStore store(1);
  const nn::TransformerBlock block(Scope(store), {.width = 8, .heads = 2, .mlp_hidden = 12, .layer_scale = true});
  EXPECT_EQ(store.names(), (Words{"norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.qkv.weight",
                                  "attn.qkv.bias", "attn.proj.weight", "attn.proj.bias", "mlp.fc1.weight",
                                  "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias", "ls1.gamma", "ls2.gamma"}));
  ParamStore plain(1);
  const nn::Attention without(Scope(plain), 8, 2, {.there = false});
  EXPECT_EQ(plain.names(), (Words{"qkv.weight", "proj.weight", "proj.bias"}));
  EXPECT_THROW(nn::Attention(Scope(plain) / "x", 8, 3), Error);
}

TEST(Mlp, BothFormsOfSwiGluAreOneFunction) {
  ParamStore store(1);
  const nn::Mlp one(Scope(store) / "one", {.width = 6, .hidden = 5, .kind = MlpKind::kSwiGlu});
  const nn::Mlp two(Scope(store) / "two", {.width = 6, .hidden = 5, .kind = MlpKind::kSwiGluSplit});
  const nn::Mlp named(Scope(store) / "named",
                      {.width = 6, .hidden = 5, .kind = MlpKind::kSwiGluSplit, .names = {"gate", "up", "down"}});
  const auto value = [&](const std::string& name) { return store.entries().at(name).tensor; };
  for (const char* part : {"weight", "bias"}) {
    const auto at = [&](const char* module) { return value(std::string(module) + "." + part); };
    for (const char* module : {"two.w1", "two.w2", "two.w3"}) at(module).copy_from(tokens(at(module).shape()));
    at("two.w2").copy_from(affine(at("two.w2").detach(), -0.5, 0.1));
    at("one.w12").copy_from(concat({at("two.w1").detach(), at("two.w2").detach()}, 0));
    at("one.w3").copy_from(at("two.w3").detach());
    at("named.gate").copy_from(at("two.w1").detach());
    at("named.up").copy_from(at("two.w2").detach());
    at("named.down").copy_from(at("two.w3").detach());
  }
  const Tensor x = tokens({2, 3, 6});
  EXPECT_LE(relative_error(one(x), two(x)), 1e-6);
  EXPECT_LE(relative_error(named(x), two(x)), 1e-6);
  const auto product = [&](const std::string& module, const Tensor& in) {
    return add(matmul(in, transpose(value(module + ".weight"), 0, 1)), value(module + ".bias"));
  };
  const Tensor a = product("two.w1", x), gated = mul(mul(a, sigmoid(a)), product("two.w2", x));
  EXPECT_LE(relative_error(two(x), product("two.w3", gated)), 1e-5);
  EXPECT_THROW(nn::Mlp(Scope(store) / "bad", {.width = 6, .hidden = 0}), Error);
}

// Attention from its parts: rotated queries and keys, a bias made of the queries before they are rotated.
TEST(Attention, HooksChangeScores) {
  ParamStore store(3);
  const nn::Attention attn(Scope(store), 16, 2);
  for (const auto& [name, entry] : store.entries()) Tensor(entry.tensor).copy_from(tokens(entry.tensor.shape()));
  const Tensor x = tokens({2, 7, 16});  // a class token and 2 x 3 patches
  const RopeTable table = rope_table(2, 3, rope_periods(8));
  const Tensor rows = tokens({2, 2, 7, 7});
  Tensor biased_by;
  const nn::AttentionHooks hooks{.rotate = [&](const Tensor& t) { return rope(t, table.cos, table.sin); },
                                 .bias =
                                     [&](const Tensor& queries) {
                                       biased_by = queries;
                                       return AttentionBias{rows, Tensor::zeros({2, 2, 7, 1})};
                                     }};
  const Tensor got = attn(x, hooks);
  const Tensor projected = attn.qkv(x);
  const Tensor q = nn::heads_of(projected, 0, 2), k = nn::heads_of(projected, 1, 2), v = nn::heads_of(projected, 2, 2);
  EXPECT_LE(relative_error(biased_by, q), 1e-7);
  const Tensor products = matmul(rope(q, table.cos, table.sin), transpose(rope(k, table.cos, table.sin), 2, 3));
  const Tensor weights = softmax(add(affine(products, 1 / std::sqrt(8.0)), rows));
  EXPECT_LE(relative_error(got, attn.proj(nn::merged_heads(matmul(weights, v)))), 1e-5);
  EXPECT_GT(relative_error(attn(x), got), 1e-2);
}

// The mask multiplies the bias of queries, keys and values; a fresh one takes the keys' away.
TEST(Attention, AMaskOfTheBias) {
  ParamStore store(3);
  const nn::Attention attn(Scope(store), 4, 1, {.mask = true});
  EXPECT_EQ(attn.bias_mask.to_vector<float>(), (std::vector<float>{1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1}));
  const Tensor x = tokens({1, 2, 4});
  Tensor(attn.qkv.bias).copy_from(tokens({12}));
  Tensor(attn.bias_mask).copy_from(affine(tokens({12}), 2, 1));
  const Tensor without = matmul(x, transpose(attn.qkv.weight, 0, 1));
  EXPECT_LE(relative_error(attn.projected(x), add(without, mul(attn.qkv.bias, attn.bias_mask))), 1e-6);
  EXPECT_GT(relative_error(attn.projected(x), attn.qkv(x)), 1e-2);
  const nn::Attention none(Scope(store) / "none", 4, 1, {.there = false});
  EXPECT_FALSE(none.qkv_bias().defined());
  EXPECT_FALSE(store.entries().contains("none.qkv.bias"));
}

TEST(TransformerBlock, InPlaceIsTheSameSumInItsInputsMemory) {
  ParamStore store(5);
  nn::TransformerBlock block(Scope(store), {.width = 8, .heads = 2, .mlp_hidden = 12});
  const NoGrad no_grad;
  const Tensor x = tokens({2, 3, 8});
  const Tensor apart = block(x, {});
  EXPECT_EQ(x.to_vector<float>(), tokens({2, 3, 8}).to_vector<float>());
  block.add_in_place = true;
  const Tensor together = block(x, {});
  EXPECT_LE(relative_error(together, apart), 1e-6);
  EXPECT_EQ(together.storage(), x.storage());
}

// With drop path, a picture's branches are left out or count more; never in place, whatever was asked for.
TEST(TransformerBlock, DropPath) {
  ParamStore store(5);
  const nn::TransformerBlock block(Scope(store),
                                   {.width = 8, .heads = 2, .mlp_hidden = 12, .drop_path = 0.5, .add_in_place = true});
  const NoGrad no_grad;
  Generator draws(1);
  const Tensor x = tokens({16, 3, 8}), y = block(x, {.training = true, .rng = &draws});
  EXPECT_NE(y.storage(), x.storage());
  int unchanged = 0;
  for (std::int64_t n = 0; n < 16; ++n)
    unchanged += relative_error(y.select(0, n).contiguous(), x.select(0, n).contiguous()) == 0 ? 1 : 0;
  EXPECT_GT(unchanged, 0);
  EXPECT_LT(unchanged, 12);
}

TEST(TransformerBlock, EveryParameterGetsAGradient) {
  for (const MlpKind kind : {MlpKind::kGelu, MlpKind::kSwiGlu, MlpKind::kSwiGluSplit}) {
    ParamStore store(7);
    const nn::TransformerBlock block(Scope(store),
                                     {.width = 8, .heads = 2, .mlp_hidden = 12, .mlp = kind, .layer_scale = true});
    const Tensor y = block(tokens({2, 3, 8}), {});
    backward(sum(mul(y, y)));
    for (const auto& [name, entry] : store.entries()) EXPECT_TRUE(grad(entry.tensor).defined()) << name;
  }
}

TEST(TransformerBlock, ABiasThatLearnsAloneGetsItsGradient) {
  ParamStore made(7);
  const nn::TransformerBlockConfig config{.width = 8, .heads = 2, .mlp_hidden = 12, .add_in_place = true};
  const nn::TransformerBlock all(Scope(made), config);
  ParamStore frozen(made.state_dict(), Device::cpu(), DType::kF32);
  nn::TransformerBlock block(Scope(frozen), config);
  set_requires_grad(block.attn.proj.bias);
  const Tensor x = tokens({2, 3, 8}), y = block(x, {});
  EXPECT_EQ(x.to_vector<float>(), tokens({2, 3, 8}).to_vector<float>());
  backward(sum(mul(y, y)));
  EXPECT_TRUE(grad(block.attn.proj.bias).defined());
}

}  // namespace
}  // namespace usol
