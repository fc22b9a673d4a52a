// DINOv3's vision transformers in all their layouts, held to what the original code, transformers and timm compute with
// the same numbers (tests/golden/make_dinov3.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <string>

#include "tests/support/devices.h"
#include "tests/support/made_up_weights.h"
#include "tests/support/op_case.h"
#include "tests/support/temp_dir.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/io/checkpoint.h"
#include "usol/io/safetensors.h"
#include "usol/models/describe.h"
#include "usol/models/vit.h"
#include "usol/ops/reduce.h"
#include "usol/ops/rope.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kBundle = "dinov3.bin";
constexpr const char* kLayouts[] = {"original", "original gated", "original no mask", "hf",
                                    "hf gated", "timm",           "timm plus",        "timm eupe"};

StateDict file_of(const std::string& layout) { return made_up_file(kBundle, layout); }

io::Checkpoint loaded(const StateDict& state) {
  const TempDir dir;
  io::save_safetensors(dir / "a.safetensors", state);
  return io::load_checkpoint(dir / "a.safetensors");
}

Vit vit_of(const StateDict& state, Device device = {}, DType dtype = DType::kF32) {
  return Vit::from_state(loaded(state).tensors, "made up", device, dtype);
}

// [1, D, h, w] on any device -> [h w, D].
Tensor rows_of(const Tensor& map) { return map.to(Device{}).reshape({map.size(1), -1}).transpose(0, 1).contiguous(); }

// Keys, normalised tokens and, where the reference has it, the class token's attention, for each of its image sizes.
void expect_outputs(const Vit& vit, const std::string& layout, Device device = {}) {
  const NoGrad no_grad;
  const StateDict outputs = made_up_outputs(kBundle, layout);
  int sizes = 0;
  for (const auto& [h, w] : {std::pair<std::int64_t, std::int64_t>{12, 12}, {8, 20}}) {
    const std::string size = std::to_string(h) + "x" + std::to_string(w);
    if (!outputs.contains(size + ".keys")) continue;
    ++sizes;
    const Tensor image = made_up("image", {1, 3, h, w}, 0, 4).to(device);
    const PatchMaps maps = vit.features_and_attention(image, FeatureKind::kK);
    EXPECT_LE(relative_error(rows_of(vit.features(image, FeatureKind::kK)), outputs.at(size + ".keys")), 1e-5) << size;
    EXPECT_LE(relative_error(rows_of(maps.features), outputs.at(size + ".keys")), 1e-5) << size;
    EXPECT_LE(relative_error(vit.forward(image).to(Device{}).select(0, 0).contiguous(), outputs.at(size + ".tokens")),
              1e-5)
        << size;
    if (const auto attention = outputs.find(size + ".attention"); attention != outputs.end()) {
      const Tensor theirs = attention->second;
      EXPECT_LE(relative_error(maps.attention.to(Device{}).reshape(theirs.shape()), theirs), 1e-5) << size;
    }
  }
  EXPECT_GT(sizes, 0);
}

class Dinov3Layouts : public testing::TestWithParam<const char*> {};

TEST_P(Dinov3Layouts, FeaturesAreTheReferences) { expect_outputs(vit_of(file_of(GetParam())), GetParam()); }

TEST_P(Dinov3Layouts, AreDescribedAndWrittenUnderTheOriginalNames) {
  const std::string layout = GetParam();
  const io::Checkpoint read = loaded(file_of(layout));
  const Description description = describe_weights(read.tensors);
  EXPECT_THAT(description.architecture, HasSubstr("DINOv3 ViT width 64 depth"));
  EXPECT_THAT(description.missing, IsEmpty());
  EXPECT_THAT(description.unexpected, IsEmpty());
  EXPECT_THAT(description.mismatched, IsEmpty());

  const bool gated = layout.find("gated") != std::string::npos || layout == "timm plus";
  const bool original = layout.starts_with("original");
  std::set<std::string> expected, names;
  for (const auto& [name, tensor] : file_of(original ? layout : gated ? "original gated" : "original"))
    expected.insert(name);
  if (!original) {
    std::erase_if(expected, [](const std::string& name) { return name.starts_with("local_cls_norm"); });
    const bool biases = layout != "timm", mask_token = layout.starts_with("hf");
    for (const char* name : {"blocks.0.attn.qkv.bias", "blocks.0.attn.qkv.bias_mask", "blocks.1.attn.qkv.bias",
                             "blocks.1.attn.qkv.bias_mask"})
      if (biases)
        expected.insert(name);
      else
        expected.erase(name);
    if (!mask_token) expected.erase("mask_token");
  }
  for (const auto& [name, tensor] : read.tensors) names.insert(name);
  EXPECT_EQ(names, expected);
  // Original names stay as they are.
  const io::Checkpoint again = loaded(read.tensors);
  EXPECT_THAT(again.applied, IsEmpty());
  EXPECT_EQ(again.tensors.size(), read.tensors.size());
}

INSTANTIATE_TEST_SUITE_P(All, Dinov3Layouts, testing::ValuesIn(kLayouts), [](const auto& layout) {
  std::string name = layout.param;
  for (char& c : name)
    if (c == ' ') c = '_';
  return name;
});

StateDict renamed(const StateDict& state, const std::string& from, const std::string& to) {
  StateDict out;
  for (const auto& [name, tensor] : state) out[name.starts_with(from) ? to + name.substr(from.size()) : name] = tensor;
  return out;
}

TEST(Dinov3Names, HuggingFacesLayersMayBeInsideOfAModelOrBehindAPrefix) {
  expect_outputs(vit_of(renamed(file_of("hf"), "layer.", "model.layer.")), "hf");
  expect_outputs(vit_of(renamed(file_of("hf gated"), "layer.", "model.layer.")), "hf gated");
  StateDict classifier = renamed(file_of("hf"), "", "dinov3_vit.");
  classifier["classifier.weight"] = Tensor::zeros({10, 64});
  expect_outputs(vit_of(classifier), "hf");
  EXPECT_THAT(loaded(classifier).left_out, Contains("classifier.weight"));
}

TEST(Dinov3Names, WhatIsNoSuchModelIsRefusedWithASentence) {
  const auto error_of = [](const StateDict& state) -> std::string {
    try {
      loaded(state);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kFormat);
      return error.what();
    }
    return "no error";
  };
  StateDict state = file_of("hf");
  state["embeddings.position_embeddings"] = Tensor::zeros({1});
  EXPECT_THAT(error_of(state), HasSubstr("'embeddings.position_embeddings' is no part of DINOv3ViTModel"));
  state = file_of("hf");
  state.erase("layer.1.attention.v_proj.bias");
  EXPECT_THAT(error_of(state), HasSubstr("'blocks.1.attn.qkv.bias' has no value among query, key and value"));
  state = file_of("hf");
  state.erase("layer.1.attention.k_proj.weight");
  EXPECT_THAT(error_of(state), HasSubstr("'blocks.1.attn.qkv.weight' has no key among query, key and value"));
  state = file_of("timm eupe");
  state.erase("blocks.1.attn.q_bias");
  EXPECT_THAT(error_of(state), HasSubstr("'blocks.1.attn.qkv.bias' has no query among query, key and value"));
  state = file_of("timm eupe");
  state["blocks.1.attn.qkv.bias"] = Tensor::zeros({192});
  EXPECT_THAT(error_of(state), HasSubstr("two tensors become 'blocks.1.attn.qkv.bias'"));
}

// Hugging Face's models may have been configured with one.
TEST(Dinov3Names, ABiasOfKeysIsKept) {
  StateDict state = file_of("hf");
  for (const char* layer : {"layer.0.", "layer.1."})
    state[std::string(layer) + "attention.k_proj.bias"] = made_up("k", {64}, 0, 1);
  const StateDict read = loaded(state).tensors;
  EXPECT_FALSE(read.contains("blocks.0.attn.qkv.bias_mask"));
  EXPECT_EQ(read.at("blocks.0.attn.qkv.bias").slice(0, 64, 128).to_vector<float>(),
            made_up("k", {64}, 0, 1).to_vector<float>());
  EXPECT_EQ(vit_of(state).config().depth, 2);
}

TEST(Dinov3Names, PartsOfEupesTrainingAreLeftOut) {
  StateDict state = file_of("original");
  state["projectors.teacher.0.weight"] = Tensor::zeros({3, 3});
  const io::Checkpoint read = loaded(state);
  EXPECT_THAT(read.left_out, Contains("projectors.teacher.0.weight"));
  EXPECT_EQ(read.tensors.size(), state.size() - 1);
  state.erase("storage_tokens");  // no such network
  EXPECT_TRUE(loaded(state).tensors.contains("projectors.teacher.0.weight"));
}

// A training wrapped around the network is taken off first; a classifier beside it goes.
TEST(Dinov3Names, TrainingsAndClassifiers) {
  StateDict state = renamed(file_of("original"), "", "teacher.backbone.");
  state["teacher.dino_head.mlp.0.weight"] = state["student.backbone.x"] = state["gram_teacher.x"] = Tensor::zeros({1});
  expect_outputs(vit_of(state), "original");
  state = file_of("original");
  state["head.weight"] = Tensor::zeros({10, 64});
  expect_outputs(vit_of(state), "original");
}

// As the original code multiplies: whatever the mask is ("original" has a random one, and a bias of keys). One that was
// saved before it was set is NaN everywhere, and means what the code would have set.
TEST(Dinov3Names, AMaskOfNaNIsTheRule) {
  StateDict state = file_of("original mask");
  Tensor mask = Tensor::full({192}, std::numeric_limits<double>::quiet_NaN());
  state["blocks.0.attn.qkv.bias_mask"] = mask;
  expect_outputs(vit_of(state), "original mask");
  EXPECT_THAT(loaded(state).applied, Contains(HasSubstr("bias_mask' of 1 blocks holds NaN")));
  mask = Tensor::full({192}, 1);
  mask.slice(0, 64, 128).fill(0);
  state["blocks.0.attn.qkv.bias_mask"] = mask;
  EXPECT_THAT(loaded(state).applied, IsEmpty());
  expect_outputs(vit_of(state), "original mask");
}

TEST(Dinov3Names, PeriodsThatAreNotStoredAreThoseOfTheNetwork) {
  for (const auto& [width, head] : {std::pair<std::int64_t, std::int64_t>{64, 64}, {4096, 128}}) {
    StateDict state = file_of("original");
    state.erase("rope_embed.periods");
    state["storage_tokens"] = Tensor::zeros({1, 4, width});
    const io::Checkpoint read = loaded(state);
    EXPECT_EQ(read.tensors.at("rope_embed.periods").to_vector<float>(), rope_periods(head).to_vector<float>());
    EXPECT_THAT(read.applied, Contains(HasSubstr("heads of width " + std::to_string(head))));
  }
  // DINOv2's registers have another name, and positions beside them.
  StateDict state = file_of("original");
  state.erase("rope_embed.periods");
  state["pos_embed"] = Tensor::zeros({1, 17, 64});
  EXPECT_FALSE(loaded(state).tensors.contains("rope_embed.periods"));
}

// What the loader makes for hubs' files is what a fresh model starts with.
TEST(Dinov3, AFreshModelHasTheConstantsThatAreMadeForHubs) {
  const StateDict hub = loaded(file_of("hf")).tensors;
  ParamStore store;
  const Vit vit(Scope(store), vit_config(hub).value());
  const StateDict fresh = store.state_dict();
  for (const char* name : {"rope_embed.periods", "blocks.0.attn.qkv.bias_mask"})
    EXPECT_EQ(fresh.at(name).to_vector<float>(), hub.at(name).to_vector<float>()) << name;
}

TEST(Dinov3, EveryParameterGetsAGradient) {
  ParamStore store(7);
  const Vit vit(Scope(store), {.width = 32,
                               .depth = 2,
                               .head_width = 16,
                               .patch = 4,
                               .mlp_hidden = 24,
                               .registers = 2,
                               .layer_scale = true,
                               .mlp = nn::MlpKind::kSwiGluSplit,
                               .rotary = true});
  const Tensor image = made_up("image", {2, 3, 8, 12}, 0, 4);
  const Tensor recorded = vit.forward(image);
  {
    const NoGrad no_grad;
    EXPECT_LE(relative_error(recorded, vit.forward(image)), 1e-5);
  }
  backward(sum(recorded));
  for (const auto& [name, entry] : store.entries())
    EXPECT_EQ(grad(entry.tensor).defined(), entry.kind == ParamStore::Kind::kParameter) << name;
}

TEST(Dinov3, PositionsMayBeMadeBefore) {
  const Vit vit = vit_of(file_of("original"));
  const Tensor image = made_up("image", {1, 3, 12, 20}, 0, 4);
  EXPECT_EQ(vit.position(3, 5).shape(), (Shape{2, 15, 16}));
  EXPECT_EQ(vit.features(image, FeatureKind::kK, -1, vit.position(3, 5)).to_vector<float>(),
            vit.features(image).to_vector<float>());
  EXPECT_NE(vit.features(image, FeatureKind::kK, -1, vit.position(5, 3)).to_vector<float>(),
            vit.features(image).to_vector<float>());
  // Fewer rows would be taken for more tokens that are not turned.
  EXPECT_THROW(vit.features(image, FeatureKind::kK, -1, vit.position(3, 4)), Error);
  EXPECT_THROW(vit.features(image, FeatureKind::kK, -1, vit.position(4, 5)), Error);
}

// Features in 16 bits are those in f32 but for rounding; the angles stay f32.
TEST(Dinov3, SixteenBits) {
  const NoGrad no_grad;
  const Tensor image = made_up("image", {1, 3, 12, 20}, 0, 4);
  for (const char* layout : {"original", "hf gated"}) {
    const Tensor expected = vit_of(file_of(layout)).features(image);
    for (const auto& [dtype, tolerance] : {std::pair{DType::kF16, 1e-2}, std::pair{DType::kBF16, 5e-2}}) {
      const Vit vit = vit_of(file_of(layout), {}, dtype);
      EXPECT_EQ(vit.position(3, 5).dtype(), DType::kF32);
      const Tensor features = vit.features(image);
      EXPECT_EQ(features.dtype(), DType::kF32);
      EXPECT_LE(relative_error(features, expected), tolerance) << layout << " " << to_string(dtype);
      EXPECT_GT(relative_error(features, expected), 0) << "not computed in 16 bits";
    }
  }
}

TEST(CudaDinov3, FeaturesAreTheReferences) {
  if (!cuda_available()) GTEST_SKIP() << "no GPU";
  const Device device = Device::cuda();
  for (const char* layout : {"original", "original gated", "hf", "timm eupe"}) {
    SCOPED_TRACE(layout);
    expect_outputs(vit_of(file_of(layout), device), layout, device);
  }
}

TEST(CudaDinov3, SixteenBits) {
  if (!cuda_available()) GTEST_SKIP() << "no GPU";
  const NoGrad no_grad;
  const Device device = Device::cuda();
  const Tensor image = made_up("image", {1, 3, 12, 20}, 0, 4);
  const Tensor expected = vit_of(file_of("original")).features(image);
  for (const auto& [dtype, tolerance] : {std::pair{DType::kF16, 1e-2}, std::pair{DType::kBF16, 5e-2}}) {
    const Tensor features = vit_of(file_of("original"), device, dtype).features(image.to(device));
    EXPECT_LE(relative_error(features.to(Device{}), expected), tolerance) << to_string(dtype);
  }
}

}  // namespace
}  // namespace usol::test
