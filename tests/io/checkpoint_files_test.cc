// Folders and indices of weights, and what is wrong with some.
#include "usol/io/checkpoint_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/support/temp_dir.h"
#include "usol/io/atomic_file.h"
#include "usol/io/checkpoint.h"
#include "usol/io/safetensors.h"
#include "usol/io/sha256.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

SharedBytes shared(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return own_bytes({bytes.begin(), bytes.end()}, "file.json");
}
template <class Function>
std::string error_of(Function function) {
  try {
    function();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(CheckpointFiles, AFolderIsSearchedInOrder) {
  const test::TempDir dir;
  EXPECT_THAT(error_of([&] { load_checkpoint(dir.path()); }),
              HasSubstr("a folder without weights: expected one of model.safetensors, model.safetensors.index.json"));
  save_safetensors(dir / "pytorch_model.bin", {{"bin", Tensor::zeros({1})}});
  EXPECT_TRUE(load_checkpoint(dir.path()).tensors.contains("bin")) << "by content, not by name";
  save_safetensors(dir / "part.safetensors", {{"a", Tensor::zeros({1})}, {"more", Tensor::zeros({1})}});
  save_safetensors(dir / "other.safetensors", {{"b", Tensor::zeros({2})}});
  write_file(dir / "model.safetensors.index.json",
             R"({"weight_map": {"a": "part.safetensors", "b": "other.safetensors"}})");
  const Checkpoint parts = load_checkpoint(dir.path());
  EXPECT_EQ(parts.tensors.size(), 2u);
  EXPECT_THAT(parts.left_out, ElementsAre("more"));
  const CheckpointFiles files = find_checkpoint_files(dir.path());
  EXPECT_TRUE((files.parts == std::vector{dir / "other.safetensors", dir / "part.safetensors"}));
  const std::string lines = sha256_file(dir / "other.safetensors") + "  other.safetensors\n" +
                            sha256_file(dir / "part.safetensors") + "  part.safetensors\n";
  EXPECT_EQ(checkpoint_sha256(dir.path()), sha256_hex(std::as_bytes(std::span(lines))));
  EXPECT_EQ(files.bytes(), std::filesystem::file_size(files.parts[0]) + std::filesystem::file_size(files.parts[1]));
  save_safetensors(dir / "model.safetensors", {{"single", Tensor::zeros({1})}});
  EXPECT_TRUE(load_checkpoint(dir.path()).tensors.contains("single"));
  EXPECT_EQ(checkpoint_sha256(dir.path()), sha256_file(dir / "model.safetensors"));
}

TEST(CheckpointFiles, WhatAnIndexPromisesMustBeThere) {
  const test::TempDir dir;
  const auto index = dir / "model.safetensors.index.json";
  write_file(index, R"({"weight_map": {"a": "part.safetensors"}})");
  EXPECT_THAT(error_of([&] { load_checkpoint(index); }),
              HasSubstr("part.safetensors: the index lists this file, but it is not there"));
  save_safetensors(dir / "part.safetensors", {{"b", Tensor::zeros({1})}});
  EXPECT_THAT(error_of([&] { load_checkpoint(index); }),
              HasSubstr("lists tensor 'a' in part.safetensors, which lacks it"));
  write_file(dir / "part.safetensors", "version https://git-lfs.github.com/spec/v1\nsize 5\n");
  EXPECT_THAT(error_of([&] { load_checkpoint(index); }), HasSubstr("part.safetensors: this is a git-LFS pointer"));
  EXPECT_THAT(error_of([&] { load_checkpoint(index, {.entry = "model"}); }), HasSubstr("has no entry 'model'"));
}

TEST(CheckpointFiles, IndicesDoNotLeadElsewhere) {
  for (const char* part : {"../x", "/etc/passwd", "a/b", "..", ".", "", "a\\\\b"}) {
    const std::string text = std::string(R"({"weight_map": {"a": ")") + part + "\"}}";
    EXPECT_THAT(error_of([&] { parse_checkpoint_index(shared(text)); }),
                HasSubstr("expected the name of a file beside the index"))
        << part;
  }
  for (const char* text : {R"({"weight_map": {"a": 5}})", R"({"weight_map": {"a": ["x"]}})"})
    EXPECT_THAT(error_of([&] { parse_checkpoint_index(shared(text)); }), HasSubstr("expected the name of a file"));
  for (const char* text : {R"({"error": "not found"})", R"({"weight_map": {}})", R"({"weight_map": []})"})
    EXPECT_THAT(error_of([&] { parse_checkpoint_index(shared(text)); }), HasSubstr("without a \"weight_map\""));
  EXPECT_THAT(error_of([] { parse_checkpoint_index(shared("[1]")); }), HasSubstr("JSON that is no object"));
  EXPECT_THAT(error_of([] { parse_checkpoint_index(shared("{")); }),
              HasSubstr("file.json: expected an index of weights"));
  EXPECT_THAT(error_of([] { parse_checkpoint_index(shared("<html>")); }), HasSubstr("a web page (HTML)"));
  const std::string deep = R"({"weight_map": {"a": )" + std::string(100000, '[') + std::string(100000, ']') + "}}";
  EXPECT_NE(error_of([&] { parse_checkpoint_index(shared(deep)); }), "no error");
}

TEST(CheckpointFiles, AConfigurationThatMeansAnotherModelIsRefused) {
  const auto read = [](std::string_view text) { return read_hub_config(shared(text)); };
  const auto values = read(R"({"model_type": "dinov2", "hidden_size": 384, "num_attention_heads": 6, "qkv_bias": true,
                               "layer_norm_eps": 1e-06, "hidden_act": "gelu", "out_features": ["a"]})");
  EXPECT_EQ(values.at("hidden_size"), "384");
  EXPECT_EQ(values.at("qkv_bias"), "true");
  EXPECT_FALSE(values.contains("out_features"));
  EXPECT_EQ(read(R"({"model_type": "vit", "layer_norm_eps": 1e-12})").size(), 2u);
  EXPECT_EQ(read(R"({"model_type": "swin", "hidden_size": 96, "num_attention_heads": 7})").size(), 3u);
  EXPECT_EQ(read(R"({"architecture": "vit_small_patch16_224", "num_features": 384})").size(), 2u);
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"model_type": "vit", "hidden_size": 384, "num_attention_heads": 12})",
       "heads of width 64, got hidden_size 384"},
      {R"({"model_type": "dinov2", "hidden_act": "gelu_new"})", "expected hidden_act \"gelu\", got \"gelu_new\""},
      {R"({"model_type": "dinov2_with_registers", "layer_norm_eps": 1e-05})",
       "expected layer_norm_eps of at most 1e-06"},
      {R"({"model_type": "dinov3_vit", "hidden_size": 384, "num_attention_heads": 3})",
       "heads of width 64, got hidden_size 384"},
      {R"({"model_type": "dinov3_vit", "hidden_size": 4096, "num_attention_heads": 64})",
       "heads of width 128, got hidden_size 4096"},
      {R"({"model_type": "dinov3_vit", "layer_norm_eps": 1e-06})", "expected layer_norm_eps 1e-05"},
      {R"({"model_type": "dinov3_vit", "rope_theta": 10000})", "expected rope_theta 100"},
      {R"({"model_type": "dinov3_vit", "use_gated_mlp": true, "hidden_act": "gelu"})", "expected hidden_act \"silu\""},
      {R"({"model_type": "dinov3_vit", "hidden_act": "silu"})", "expected hidden_act \"gelu\""}};
  EXPECT_EQ(read(R"({"model_type": "dinov3_vit", "hidden_size": 4096, "num_attention_heads": 32, "rope_theta": 100.0,
                     "layer_norm_eps": 1e-05, "use_gated_mlp": true, "hidden_act": "silu"})")
                .size(),
            7u);
  for (const auto& [text, error] : wrong)
    EXPECT_THAT(error_of([&, &wrong_text = text] { read(wrong_text); }), HasSubstr(error));
}

// Where Hugging Face and timm have the mean and deviation of colours.
TEST(CheckpointFiles, ColoursOfAHubsFolder) {
  const test::TempDir dir;
  save_safetensors(dir / "model.safetensors", {{"a", Tensor::zeros({1})}});
  write_file(dir / "config.json", R"({"model_type": "dinov3_vit", "hidden_size": 384})");
  write_file(dir / "preprocessor_config.json",
             R"({"image_mean": [0.43, 0.411, 0.296], "image_std": [0.213, 0.156], "size": {"height": 224}})");
  auto metadata = load_checkpoint(dir.path()).metadata;
  EXPECT_EQ(metadata.at("config.model_type"), "dinov3_vit");
  EXPECT_EQ(metadata.at("config.image_mean"), "[0.43,0.411,0.296]");
  EXPECT_FALSE(metadata.contains("config.image_std")) << "two numbers are no colour";
  std::filesystem::remove(dir / "preprocessor_config.json");
  write_file(dir / "config.json", R"({"architecture": "vit_large_patch16_dinov3", "pretrained_cfg":
                                      {"tag": "sat493m", "mean": [0.43, 0.411, 0.296], "std": [0.213, 0.156, 0.143]}})");
  metadata = load_checkpoint(dir.path()).metadata;
  EXPECT_EQ(metadata.at("config.image_mean"), "[0.43,0.411,0.296]");
  EXPECT_EQ(metadata.at("config.image_std"), "[0.213,0.156,0.143]");
}

}  // namespace
}  // namespace usol::io
