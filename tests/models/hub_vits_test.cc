// Vision transformers as they lie on the hubs, held to what transformers and timm compute with the same numbers
// (tests/golden/make_hub_vits.py), in every container, whole, in parts and as a folder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/made_up_weights.h"
#include "tests/support/op_case.h"
#include "tests/support/temp_dir.h"
#include "usol/io/atomic_file.h"
#include "usol/io/checkpoint.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/pth.h"
#include "usol/io/safetensors.h"
#include "usol/io/sha256.h"
#include "usol/models/describe.h"
#include "usol/models/vit.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kLayouts[] = {"hf vit",          "hf vit classifier",    "hf dinov2",
                                    "hf dinov2 gated", "hf dinov2 classifier", "hf dinov2 registers",
                                    "timm dino",       "timm dinov2",          "timm dinov2 giant",
                                    "timm reg4",       "timm reg4 giant"};

StateDict file_of(const std::string& layout) { return made_up_file("hub_vits.bin", layout); }

/// Two files of safetensors and the index of both. Returns the index.
std::filesystem::path write_parts(const std::filesystem::path& folder, const StateDict& state) {
  StateDict parts[2];
  std::string map;
  std::size_t i = 0;
  for (const auto& [name, tensor] : state) {
    const std::size_t part = i++ % 2;
    parts[part][name] = tensor;
    map += (map.empty() ? "\"" : ", \"") + name + "\": \"model-0000" + std::to_string(part + 1) +
           "-of-00002.safetensors\"";
  }
  for (int p = 0; p < 2; ++p)
    io::save_safetensors(folder / ("model-0000" + std::to_string(p + 1) + "-of-00002.safetensors"), parts[p]);
  io::write_file(folder / "model.safetensors.index.json",
                 "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {" + map + "}}");
  return folder / "model.safetensors.index.json";
}

class HubVits : public testing::TestWithParam<const char*> {};

TEST_P(HubVits, FeaturesAreThoseOfTheHubsOwnLibrary) {
  const std::string layout = GetParam();
  const TempDir dir;
  io::save_safetensors(dir / "model.safetensors", file_of(layout));
  const Vit vit = Vit::from_state(io::load_checkpoint(dir / "model.safetensors").tensors, layout);
  const bool registers = layout.find("reg") != std::string::npos;
  EXPECT_EQ(vit.config().registers, registers ? 4 : 0);
  const bool gated = layout.find("giant") != std::string::npos || layout.find("gated") != std::string::npos;
  EXPECT_EQ(vit.config().mlp, gated ? nn::MlpKind::kSwiGlu : nn::MlpKind::kGelu);
  const StateDict outputs = made_up_outputs("hub_vits.bin", layout);
  int sizes = 0;
  for (const auto& [h, w] : {std::pair<std::int64_t, std::int64_t>{16, 16}, {20, 24}}) {
    const std::string size = std::to_string(h) + "x" + std::to_string(w);
    if (!outputs.contains(size + ".keys")) continue;
    const Tensor image = made_up("image", {1, 3, h, w}, 0, 4);
    const Tensor keys = vit.features(image, FeatureKind::kK);
    const Tensor expected = outputs.at(size + ".keys");  // [h w, D]
    EXPECT_LE(relative_error(keys.reshape({keys.size(1), -1}).transpose(0, 1).contiguous(), expected), 1e-5) << size;
    const Tensor tokens = outputs.at(size + ".tokens");
    EXPECT_LE(relative_error(vit.forward(image).select(0, 0).contiguous(), tokens), 1e-5) << size;
    const Tensor out = vit.features(image, FeatureKind::kOut),
                 of_patches = tokens.slice(0, registers ? 5 : 1, tokens.size(0));
    EXPECT_LE(relative_error(out.reshape({out.size(1), -1}).transpose(0, 1).contiguous(), of_patches), 1e-5) << size;
    ++sizes;
  }
  EXPECT_EQ(sizes, layout == "hf dinov2 registers" || layout == "timm reg4" ? 2 : 1);
}

TEST_P(HubVits, EveryContainerGivesTheSameTensors) {
  const TempDir dir;
  const StateDict state = file_of(GetParam());
  io::save_safetensors(dir / "a.safetensors", state);
  io::save_pth(dir / "a.pth", state);
  std::filesystem::copy_file(dir / "a.pth", dir / "pytorch_model.bin");
  for (const char* folder : {"single", "bin", "parts"}) std::filesystem::create_directory(dir / folder);
  io::save_safetensors(dir / "single/model.safetensors", state);
  std::filesystem::copy_file(dir / "a.pth", dir / "bin/pytorch_model.bin");
  const auto index = write_parts(dir / "parts", state);
  io::write_file(dir / "bin/config.json", "{\"model_type\": \"vit\", \"hidden_size\": 64, \"num_attention_heads\": 1}");
  const io::Checkpoint first = io::load_checkpoint(dir / "a.safetensors");
  for (const auto& path :
       {dir / "a.pth", dir / "pytorch_model.bin", dir / "single", dir / "bin", dir / "parts", index}) {
    const io::Checkpoint other = io::load_checkpoint(path);
    ASSERT_EQ(other.tensors.size(), first.tensors.size()) << path;
    for (const auto& [name, tensor] : first.tensors)
      EXPECT_EQ(other.tensors.at(name).to_vector<float>(), tensor.to_vector<float>()) << path << " " << name;
  }
  EXPECT_EQ(io::load_checkpoint(dir / "bin").metadata.at("config.model_type"), "vit");
  EXPECT_EQ(io::load_checkpoint(index).format, "safetensors in 2 files");
}

TEST_P(HubVits, AreDescribedAndWrittenUnderTheOriginalNames) {
  const TempDir dir;
  io::save_safetensors(dir / "hub.safetensors", file_of(GetParam()));
  const io::Checkpoint read = io::load_checkpoint(dir / "hub.safetensors");
  const Description description = describe_weights(read.tensors);
  EXPECT_THAT(description.architecture, HasSubstr("ViT width 64 depth 2 patch 4"));
  EXPECT_THAT(description.missing, IsEmpty());
  EXPECT_THAT(description.unexpected, IsEmpty());
  EXPECT_THAT(description.mismatched, IsEmpty());
  EXPECT_TRUE(read.tensors.contains("blocks.1.attn.qkv.bias"));
  // Original names stay as they are.
  io::save_checkpoint(dir / "original.pth", read.tensors);
  const io::Checkpoint again = io::load_checkpoint(dir / "original.pth");
  EXPECT_THAT(again.applied, IsEmpty());
  EXPECT_EQ(again.tensors.size(), read.tensors.size());
}

INSTANTIATE_TEST_SUITE_P(Layouts, HubVits, testing::ValuesIn(kLayouts), [](const auto& layout) {
  std::string name = layout.param;
  for (char& c : name)
    if (c == ' ') c = '_';
  return name;
});

std::string error_of(const StateDict& state) {
  const TempDir dir;
  io::save_safetensors(dir / "a.safetensors", state);
  try {
    io::load_checkpoint(dir / "a.safetensors");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    return error.what();
  }
  return "no error";
}

TEST(HubNames, WhatIsNoSuchModelIsRefusedWithASentence) {
  StateDict state = file_of("hf vit");
  state["embeddings.distillation_token"] = Tensor::zeros({1, 1, 64});
  EXPECT_THAT(error_of(state), HasSubstr("but 'embeddings.distillation_token' is no part of ViTModel"));
  EXPECT_THAT(error_of(state), HasSubstr("a.safetensors: key map: "));
  state = file_of("hf vit");
  state["encoder.layer.1.attention.attention.relative_position_bias.x"] = Tensor::zeros({1});
  EXPECT_THAT(error_of(state), HasSubstr("relative_position_bias.x' is no part of"));
  state = file_of("hf dinov2");
  state.erase("encoder.layer.1.attention.attention.value.bias");
  EXPECT_THAT(error_of(state), HasSubstr("'blocks.1.attn.qkv.bias' has no value among query, key and value"));
  state["encoder.layer.1.attention.attention.value.bias"] = Tensor::zeros({3});
  EXPECT_THAT(error_of(state), HasSubstr("expected query, key and value alike, got f32 [64] and f32 [3]"));
  state = file_of("timm reg4");
  state["pos_embed"] = Tensor::zeros({1, 21, 64});
  EXPECT_THAT(error_of(state), HasSubstr("expected [1, n n, D], positions of the patches alone, got [1, 21, 64]"));
}

TEST(HubNames, WithoutABiasNoneIsMadeUp) {
  StateDict state = file_of("hf dinov2");
  std::erase_if(state, [](const auto& item) {
    return item.first.find("attention.attention.") != std::string::npos && item.first.ends_with("bias");
  });
  const TempDir dir;
  io::save_safetensors(dir / "a.safetensors", state);
  const StateDict read = io::load_checkpoint(dir / "a.safetensors").tensors;
  EXPECT_TRUE(read.contains("blocks.0.attn.qkv.weight"));
  EXPECT_FALSE(read.contains("blocks.0.attn.qkv.bias"));
}

}  // namespace
}  // namespace usol::test
