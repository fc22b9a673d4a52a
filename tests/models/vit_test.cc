// Features against PyTorch's forward of the official DINO and DINOv2 code, with the same weights.
#include "usol/models/vit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

StateDict weights_of(const std::map<std::string, Tensor>& golden) {
  StateDict state;
  for (const auto& [name, tensor] : golden)
    if (name.starts_with("w.")) state[name.substr(2)] = tensor;
  return state;
}

class VitGolden : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(VitGolden, QkvOfTheLastBlock) {
  const auto [file, name] = GetParam();
  const auto golden = load_golden(file);
  const Vit vit = Vit::from_state(weights_of(golden), file);
  const Tensor image = golden.at(std::string(name) + ".image"), expected = golden.at(std::string(name) + ".qkv");
  EXPECT_LE(relative_error(vit.last_qkv(image).reshape(expected.shape()), expected), 1e-5);

  // Each kind of feature is a part of it.
  const std::int64_t d = vit.config().width, skipped = 1 + vit.config().registers, n = image.size(0);
  const auto part = [&](std::int64_t which) {
    return expected.slice(1, skipped, expected.size(1)).slice(2, which * d, (which + 1) * d).transpose(1, 2);
  };
  const auto flat = [&](FeatureKind kind) {
    const Tensor f = vit.features(image, kind);
    EXPECT_EQ(f.size(2), image.size(2) / vit.config().patch);
    return f.reshape({n, f.size(1), f.size(2) * f.size(3)});
  };
  EXPECT_LE(relative_error(flat(FeatureKind::kQ), part(0)), 1e-5);
  EXPECT_LE(relative_error(flat(FeatureKind::kK), part(1)), 1e-5);
  EXPECT_LE(relative_error(flat(FeatureKind::kV), part(2)), 1e-5);
  const Tensor kqv = flat(FeatureKind::kKqv);
  EXPECT_LE(relative_error(kqv.slice(1, 0, d), part(1)), 1e-5);
  EXPECT_LE(relative_error(kqv.slice(1, d, 2 * d), part(0)), 1e-5);
}

TEST_P(VitGolden, AttentionOfTheClassToken) {
  const auto [file, name] = GetParam();
  const auto golden = load_golden(file);
  const Vit vit = Vit::from_state(weights_of(golden), file);
  const Tensor image = golden.at(std::string(name) + ".image"), qkv = golden.at(std::string(name) + ".qkv");
  const std::int64_t n = image.size(0), l = qkv.size(1), width = vit.config().head_width, heads = vit.config().heads();
  const std::int64_t skipped = 1 + vit.config().registers;
  for (const FeatureKind kind : {FeatureKind::kQ, FeatureKind::kK, FeatureKind::kV, FeatureKind::kKqv}) {
    const PatchMaps maps = vit.features_and_attention(image, kind);
    EXPECT_LE(relative_error(maps.features, vit.features(image, kind)), 1e-5);
    ASSERT_EQ(maps.attention.numel(), n * heads * (l - skipped));
    EXPECT_EQ(maps.attention.size(2), image.size(2) / vit.config().patch);
    const auto q = qkv.reshape({n, l, 3, heads, width}).to(DType::kF64).contiguous().to_vector<double>();
    const auto at = [&](std::int64_t i, std::int64_t token, std::int64_t which, std::int64_t h, std::int64_t k) {
      return q[static_cast<std::size_t>((((i * l + token) * 3 + which) * heads + h) * width + k)];
    };
    Tensor expected = Tensor::empty({n, heads, l - skipped}, DType::kF64);
    double* e = expected.mutable_data<double>();
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t h = 0; h < heads; ++h) {
        std::vector<double> weight(static_cast<std::size_t>(l));
        double sum = 0;
        for (std::int64_t t = 0; t < l; ++t) {
          double dot = 0;
          for (std::int64_t k = 0; k < width; ++k) dot += at(i, 0, 0, h, k) * at(i, t, 1, h, k);
          sum += weight[static_cast<std::size_t>(t)] = std::exp(dot / std::sqrt(static_cast<double>(width)));
        }
        for (std::int64_t t = skipped; t < l; ++t) *e++ = weight[static_cast<std::size_t>(t)] / sum;
      }
    EXPECT_LE(relative_error(maps.attention.reshape(expected.shape()), expected), 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Dino, VitGolden,
                         testing::Combine(testing::Values("vit_dino.safetensors"),
                                          testing::Values("stored", "larger", "smaller", "wide", "same_count")));
INSTANTIATE_TEST_SUITE_P(DinoV2, VitGolden,
                         testing::Combine(testing::Values("vit_dinov2.safetensors", "vit_dinov2_reg.safetensors"),
                                          testing::Values("stored", "larger", "smaller")));

TEST(Vit, ConfigIsReadOffTheShapes) {
  const auto config = vit_config(weights_of(load_golden("vit_dinov2_reg.safetensors")));
  ASSERT_TRUE(config.has_value());
  EXPECT_EQ(config->width, 64);
  EXPECT_EQ(config->depth, 2);
  EXPECT_EQ(config->patch, 7);
  EXPECT_EQ(config->grid, 4);
  EXPECT_EQ(config->registers, 2);
  EXPECT_EQ(config->mlp, nn::MlpKind::kSwiGlu);
  EXPECT_TRUE(config->layer_scale);
  EXPECT_FALSE(config->resize_by_scale);
  const VitConfig base{.width = 768, .patch = 8};
  EXPECT_EQ(base.name(), "ViT-B/8");
}

// The epsilon of DINO's norms, which is not PyTorch's default.
TEST(Vit, TheNormsEpsilon) {
  ParamStore store;
  EXPECT_EQ(nn::LayerNorm(Scope(store), 4).epsilon, 1e-6);
}

TEST(Vit, MissingAndUnexpectedKeysAreListed) {
  StateDict state = weights_of(load_golden("vit_dino.safetensors"));
  state.erase("blocks.1.attn.proj.bias");
  state["blocks.0.extra"] = Tensor::zeros({1});
  state["head.mlp.0.weight"] = Tensor::zeros({1});  // a full DINO checkpoint's projection head is no error
  try {
    Vit::from_state(state, "weights.pth");
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "weights.pth: the tensors do not fit the model:\n  missing blocks.1.attn.proj.bias\n"
                 "  unexpected blocks.0.extra");
  }
  EXPECT_THROW(Vit::from_state({}, "empty.pth"), Error);
}

TEST(Vit, RefusesSizesThatAreNoMultipleOfThePatch) {
  const Vit vit = Vit::from_state(weights_of(load_golden("vit_dino.safetensors")), "golden");
  EXPECT_THROW(vit.features(Tensor::zeros({1, 3, 33, 32})), Error);
  EXPECT_THROW(vit.features(Tensor::zeros({1, 1, 32, 32})), Error);
}

TEST(Vit, InferenceEqualsTheRecordedForwardAndEveryParameterGetsAGradient) {
  ParamStore store(7);
  const VitConfig config{.width = 64, .depth = 2, .patch = 8, .grid = 2, .mlp_hidden = 96};
  const Vit vit(Scope(store), config);
  const Tensor image = make_inputs({{{2, 3, 24, 16}}}, DType::kF32, {})[0];
  Tensor inference;
  {
    const NoGrad no_grad;
    inference = vit.forward(image);
  }
  const Tensor recorded = vit.forward(image);
  EXPECT_LE(relative_error(recorded, inference), 1e-5);
  backward(sum(recorded));
  for (const auto& [name, entry] : store.entries()) EXPECT_TRUE(grad(entry.tensor).defined()) << name;
}

// What a block's features are does not depend on the blocks behind it.
TEST(Vit, FeaturesOfAnyLayer) {
  StateDict state = weights_of(load_golden("vit_dino.safetensors"));
  const auto whole = load_patch_backbone(state, "golden");
  ASSERT_EQ(whole->layers(), 2);
  std::erase_if(state, [](const auto& entry) { return entry.first.starts_with("blocks.1."); });
  const Vit first = Vit::from_state(state, "one block");
  const Tensor image = make_inputs({{{1, 3, 32, 48}}}, DType::kF32, {})[0];
  for (const FeatureKind kind : {FeatureKind::kQ, FeatureKind::kK, FeatureKind::kV, FeatureKind::kKqv}) {
    const auto expected = first.features(image, kind).to_vector<float>();
    EXPECT_EQ(whole->features(image, kind, 0).to_vector<float>(), expected);
    EXPECT_EQ(whole->features(image, kind, -2).to_vector<float>(), expected);
    EXPECT_NE(whole->features(image, kind).to_vector<float>(), expected);
    EXPECT_EQ(whole->features(image, kind, 1).to_vector<float>(), whole->features(image, kind).to_vector<float>());
    EXPECT_EQ(whole->features_and_attention(image, kind, 0).attention.to_vector<float>(),
              first.features_and_attention(image, kind).attention.to_vector<float>());
  }
  EXPECT_THROW(whole->features(image, FeatureKind::kK, 2), Error);
  EXPECT_THROW(whole->features(image, FeatureKind::kK, -3), Error);
  // Output is what the last norm makes of a block's result, whichever block.
  const auto out_of = [&](const Vit& vit) {
    const Tensor tokens = vit.forward(image).slice(1, 1, 25);
    return tokens.transpose(1, 2).contiguous().to_vector<float>();
  };
  EXPECT_EQ(whole->features(image, FeatureKind::kOut, 0).to_vector<float>(), out_of(first));
  EXPECT_EQ(whole->features(image, FeatureKind::kOut).to_vector<float>(), out_of(dynamic_cast<const Vit&>(*whole)));
}

// Several parts come of one pass, each at unit length in every patch, so that a cosine is the mean of theirs.
TEST(Vit, FeaturesOfSeveralPartsAreConcatenated) {
  const auto vit = load_patch_backbone(weights_of(load_golden("vit_dino.safetensors")), "golden");
  const Tensor image = make_inputs({{{2, 3, 32, 48}}}, DType::kF32, {})[0];
  const FeatureParts parts{{FeatureKind::kOut, 0}, {FeatureKind::kK, -1}, {FeatureKind::kQ, 1}, {FeatureKind::kK, 0}};
  const PatchMaps joined = vit->maps(image, parts, true);
  ASSERT_EQ(joined.features.shape(), (Shape{2, 4 * 64, 4, 6}));
  EXPECT_EQ(joined.attention.to_vector<float>(),
            vit->features_and_attention(image, FeatureKind::kK).attention.to_vector<float>());
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const auto alone = vit->features(image, parts[p].kind, parts[p].layer).to_vector<float>();
    const auto part =
        joined.features.slice(1, static_cast<std::int64_t>(64 * p), static_cast<std::int64_t>(64 * p + 64))
            .contiguous()
            .to_vector<float>();
    for (std::size_t n = 0; n < 2; ++n)
      for (std::size_t patch = 0; patch < 24; ++patch) {
        double square = 0;
        const auto at = [&](std::size_t d) { return (n * 64 + d) * 24 + patch; };
        for (std::size_t d = 0; d < 64; ++d) square += static_cast<double>(alone[at(d)]) * alone[at(d)];
        for (std::size_t d = 0; d < 64; ++d) ASSERT_NEAR(part[at(d)], alone[at(d)] / std::sqrt(square), 1e-5) << p;
      }
  }
  const auto message = [&](const FeatureParts& wrong) -> std::string {
    try {
      vit->maps(image, wrong);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(message({{FeatureKind::kK, 1}, {FeatureKind::kK, -1}}), "features: k of layer 1 is there twice");
  EXPECT_EQ(message({{FeatureKind::kK, 2}}),
            "features: expected a layer in 0 to 1 of ViT width 64 depth 2 patch 8, or -1 to -2 from the last one back, "
            "got 2");
  EXPECT_EQ(message({}), "features: expected at least one kind and one layer");
}

// Given back, the position of a grid changes nothing.
TEST(Vit, PositionsMayBeMadeBefore) {
  const auto vit = load_patch_backbone(weights_of(load_golden("vit_dino.safetensors")), "golden");
  const std::int64_t p = vit->patch_px();
  const Tensor image = make_inputs({{{1, 3, 3 * p, 5 * p}}}, DType::kF32, {})[0];
  EXPECT_EQ(vit->features(image, FeatureKind::kK, -1, vit->position(3, 5)).to_vector<float>(),
            vit->features(image).to_vector<float>());
  EXPECT_THROW(vit->features(image, FeatureKind::kK, -1, vit->position(5, 4)), Error);
}

TEST(Vit, NormalisesAsTorchvisionDoes) {
  Tensor image = Tensor::zeros({1, 2, 3}, DType::kU8);
  image.mutable_data<std::uint8_t>()[4] = 255;  // green of the second pixel
  const auto x = normalised(image).to_vector<float>();
  EXPECT_FLOAT_EQ(x[0], -0.485f / 0.229f);
  EXPECT_FLOAT_EQ(x[3], (1.0f - 0.456f) / 0.224f);
  EXPECT_FLOAT_EQ(x[4], -0.406f / 0.225f);
}

}  // namespace
}  // namespace usol::test
