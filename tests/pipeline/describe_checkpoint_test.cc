// What a checkpoint is said to hold, asked from C++.
#include "usol/pipeline/describe_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/bundle.h"
#include "tests/support/temp_dir.h"
#include "usol/io/sha256.h"
#include "usol/models/vit.h"

namespace usol {
namespace {

using testing::HasSubstr;
using testing::Not;

class DescribeCheckpoint : public testing::Test {
 protected:
  // One file of the weights bundle, on disk.
  std::string file(const std::string& name) {
    const auto path = dir_ / "weights.bin";
    test::write_bundled("weights_2.15.0.bin", name, path);
    return path.string();
  }
  test::TempDir dir_;
};

TEST_F(DescribeCheckpoint, SaysWhatIsInTheFile) {
  const std::string path = file("legacy dino full");
  const CheckpointDescription found = describe_checkpoint(path);
  EXPECT_EQ(found.file, path);
  EXPECT_EQ(found.format, "PyTorch legacy");
  EXPECT_EQ(found.bytes, std::filesystem::file_size(path));
  EXPECT_EQ(found.sha256, io::sha256_file(path));
  EXPECT_EQ(found.entry, "teacher");
  EXPECT_EQ(found.metadata.at("epoch"), "100");
  EXPECT_EQ(found.tensors.at("pos_embed").shape, (Shape{1, 5, 8}));
  EXPECT_EQ(found.tensors.at("pos_embed").dtype, DType::kF32);
  EXPECT_EQ(found.json()["tensors"].size(), found.tensors.size());
  EXPECT_EQ(describe_checkpoint(path, {.entry = "student"}).entry, "student");
  EXPECT_THROW(describe_checkpoint(path, {.entry = "ema"}), Error);
}

TEST_F(DescribeCheckpoint, NamesTheArchitecture) {
  const std::string path = (dir_ / "vit.safetensors").string();
  ParamStore store(1);
  const Vit vit(Scope(store), {.width = 64, .depth = 2, .patch = 4, .grid = 3, .mlp_hidden = 96, .registers = 4});
  io::save_checkpoint(path, store.state_dict());
  const std::string text = describe_checkpoint(path).text();
  for (const char* part : {"ViT width 64 depth 2 patch 4 with 4 registers", "heads       1",
                           "grid        3 x 3 (12 px)", "GELU, 96 hidden"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  for (const char* part : {"missing", "wrong shape", "beyond"}) EXPECT_THAT(text, Not(HasSubstr(part)));
}

TEST_F(DescribeCheckpoint, ItsVerdictIsTheLoaders) {
  const std::string path = (dir_ / "vit.safetensors").string();
  ParamStore store(1);
  const Vit vit(Scope(store), {.width = 64, .depth = 1, .patch = 4, .grid = 2, .mlp_hidden = 64});
  const auto verdict = [&](StateDict state) {
    io::save_checkpoint(path, state);
    const std::string refused = describe_checkpoint(path).refused;
    EXPECT_THAT(describe_checkpoint(path).text(),
                HasSubstr(refused.empty() ? "fits          ViT width 64" : "fits          nothing; closest to ViT"));
    try {
      Vit::from_state(io::load_checkpoint(path).tensors, path);
      EXPECT_EQ(refused, "");
    } catch (const Error&) {
      EXPECT_NE(refused, "");
    }
    return refused;
  };
  const StateDict state = store.state_dict();
  EXPECT_EQ(verdict(state), "");
  StateDict classifier = state;
  for (const char* name : {"fc_norm.weight", "fc_norm.bias", "head.weight"}) classifier[name] = Tensor::zeros({64});
  EXPECT_EQ(verdict(classifier), "");
  StateDict more = state, less = state, other = state;
  more["decoder_embed.weight"] = Tensor::zeros({1});
  EXPECT_EQ(verdict(more), "there are tensors beyond it");
  less.erase("norm.bias");
  EXPECT_EQ(verdict(less), "tensors are missing");
  other["norm.bias"] = Tensor::zeros({3});
  EXPECT_EQ(verdict(other), "shapes differ");
}

TEST_F(DescribeCheckpoint, NumberedTensorsOfOneShapeShareALine) {
  const std::string path = (dir_ / "a.safetensors").string();
  std::map<std::string, Tensor> tensors = {{"l.2.w", Tensor::zeros({4})}};
  for (const char* name : {"l.0.w", "l.1.w", "l.3.w"}) tensors[name] = Tensor::zeros({3});
  io::save_checkpoint(path, tensors);
  EXPECT_THAT(describe_checkpoint(path).text(), HasSubstr("  l.{0..3}.w  f32 [3]  x3\n  l.2.w       f32 [4]\n"));
  EXPECT_THAT(describe_checkpoint(path).text(true), HasSubstr("  l.0.w  f32 [3]\n  l.1.w  f32 [3]\n"));
}

TEST_F(DescribeCheckpoint, BatchStatisticsAreNoParameters) {
  EXPECT_EQ(describe_checkpoint(file("zip moco")).parameters, 4 * 3 * 7 * 7 + 2 * 4);
}

TEST_F(DescribeCheckpoint, ControlCharactersOfAFileDoNotReachTheTerminal) {
  const std::string path = (dir_ / "a.safetensors").string();
  io::save_checkpoint(path, {{"x\x1b[31m", Tensor::zeros({1})}}, {{"k\n", "\x07"}});
  const std::string text = describe_checkpoint(path).text();
  EXPECT_THAT(text, HasSubstr("x\\x1b[31m"));
  EXPECT_THAT(text, HasSubstr("k\\x0a = \\x07"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace usol
