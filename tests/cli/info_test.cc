// usol info, as a user meets it.
#include "usol/cli/info.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/bundle.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/atomic_file.h"
#include "usol/io/sha256.h"
#include "usol/models/vit.h"

namespace usol::cli {
namespace {

using test::run_usol;
using testing::HasSubstr;
using testing::Not;

class Info : public testing::Test {
 protected:
  /// One file of the weights bundle, on disk.
  std::string file(const std::string& name) {
    const auto path = dir_ / "weights.bin";
    io::write_file(path, test::load_bundle("weights_2.15.0.bin").at(name).bytes);
    return path.string();
  }
  test::TempDir dir_;
};

TEST_F(Info, SaysFormatHashArchitectureAndTensors) {
  const std::string path = file("zip dinov2");
  const auto run = run_usol({"info", path});
  EXPECT_EQ(run.status, kSuccess) << run.err;
  EXPECT_EQ(run.err, "");
  for (const std::string& part :
       std::vector<std::string>{"PyTorch zip", "SHA-256       " + io::sha256_file(path),
                                "fits          no architecture known here", "blocks.0.attn.qkv.weight   f32 [24, 8]"}) {
    EXPECT_THAT(run.out, HasSubstr(part));
  }
  EXPECT_THAT(run.out, Not(HasSubstr("missing")));
}

TEST_F(Info, NamesTheArchitecture) {
  const std::string path = (dir_ / "vit.safetensors").string();
  ParamStore store(1);
  const Vit vit(Scope(store), {.width = 64, .depth = 2, .patch = 4, .grid = 3, .mlp_hidden = 96, .registers = 4});
  io::save_checkpoint(path, store.state_dict());
  const std::string text = info_text(path);
  for (const char* part : {"ViT width 64 depth 2 patch 4 with 4 registers", "heads       1",
                           "grid        3 x 3 (12 px)", "GELU, 96 hidden"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  for (const char* part : {"missing", "wrong shape", "beyond"}) EXPECT_THAT(text, Not(HasSubstr(part)));
}

TEST_F(Info, ItsVerdictIsTheLoaders) {
  const std::string path = (dir_ / "vit.safetensors").string();
  ParamStore store(1);
  const Vit vit(Scope(store), {.width = 64, .depth = 1, .patch = 4, .grid = 2, .mlp_hidden = 64});
  const auto verdict = [&](StateDict state) {
    io::save_checkpoint(path, state);
    const std::string refused = nlohmann::json::parse(info_json(path))["refused"].get<std::string>();
    EXPECT_THAT(info_text(path),
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

TEST_F(Info, NumberedTensorsOfOneShapeShareALine) {
  const std::string path = (dir_ / "a.safetensors").string();
  std::map<std::string, Tensor> tensors = {{"l.2.w", Tensor::zeros({4})}};
  for (const char* name : {"l.0.w", "l.1.w", "l.3.w"}) tensors[name] = Tensor::zeros({3});
  io::save_checkpoint(path, tensors);
  EXPECT_THAT(info_text(path), HasSubstr("  l.{0..3}.w  f32 [3]  x3\n  l.2.w       f32 [4]\n"));
  EXPECT_THAT(info_text(path, {{}, true}), HasSubstr("  l.0.w  f32 [3]\n  l.1.w  f32 [3]\n"));
}

TEST_F(Info, TellsWhatWasTakenAndWhatStoodBeside) {
  const std::string path = file("legacy dino full");
  const auto run = run_usol({"info", path});
  for (const std::string& part :
       std::vector<std::string>{"PyTorch legacy", "entry         teacher", "prefix 'backbone.' removed",
                                "left out: student, optimizer", "args.arch = vit_small", "epoch = 100"}) {
    EXPECT_THAT(run.out, HasSubstr(part));
  }
  EXPECT_THAT(run_usol({"info", "--entry", "student", path}).out, HasSubstr("entry         student"));
  EXPECT_THAT(run_usol({"info", "--raw-names", path}).out, HasSubstr("backbone.blocks.0"));
  const auto wrong = run_usol({"info", "--entry", "ema", path});
  EXPECT_EQ(wrong.status, kBadUsage);
  EXPECT_THAT(wrong.err, HasSubstr("no entry 'ema'"));
}

TEST_F(Info, JsonHoldsEveryTensor) {
  const auto run = run_usol({"info", "--json", file("zip dino flat")});
  const auto json = nlohmann::json::parse(run.out);
  EXPECT_EQ(json["tensors"].size(), 18u);
  EXPECT_EQ(json["tensors"]["pos_embed"]["shape"], (std::vector<int>{1, 5, 8}));
  EXPECT_EQ(json["missing"].size(), 0u);
}

TEST_F(Info, BatchStatisticsAreNoParameters) {
  EXPECT_EQ(nlohmann::json::parse(info_json(file("zip moco")))["parameters"], 4 * 3 * 7 * 7 + 2 * 4);
}

TEST_F(Info, ForbiddenAndMissingFilesAreErrorsAndOthersGoOn) {
  const std::string bad = file("bad zip os.system");
  const auto alone = run_usol({"info", bad});
  EXPECT_EQ(alone.status, kFailure);
  EXPECT_THAT(alone.err, HasSubstr(bad));
  EXPECT_THAT(alone.err, HasSubstr(".system', which is not on the list"));
  io::write_file(dir_ / "good.pth", test::load_bundle("weights_2.15.0.bin").at("zip dino flat").bytes);
  const auto both = run_usol({"info", bad, (dir_ / "good.pth").string()});
  EXPECT_EQ(both.status, kSomeInputsFailed);
  EXPECT_THAT(both.out, HasSubstr("PyTorch zip"));
  EXPECT_EQ(run_usol({"info"}).status, kBadUsage);
  EXPECT_EQ(run_usol({"info", "/nonexistent"}).status, kFailure);
}

TEST_F(Info, ControlCharactersOfAFileDoNotReachTheTerminal) {
  const std::string path = (dir_ / "a.safetensors").string();
  io::save_checkpoint(path, {{"x\x1b[31m", Tensor::zeros({1})}}, {{"k\n", "\x07"}});
  const std::string text = info_text(path);
  EXPECT_THAT(text, HasSubstr("x\\x1b[31m"));
  EXPECT_THAT(text, HasSubstr("k\\x0a = \\x07"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace usol::cli
