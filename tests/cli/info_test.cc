// usol info, as a user meets it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/bundle.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/sha256.h"

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
    test::write_bundled("weights_2.15.0.bin", name, path);
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

TEST_F(Info, ForbiddenAndMissingFilesAreErrorsAndOthersGoOn) {
  const std::string bad = file("bad zip os.system");
  const auto alone = run_usol({"info", bad});
  EXPECT_EQ(alone.status, kFailure);
  EXPECT_THAT(alone.err, HasSubstr(bad));
  EXPECT_THAT(alone.err, HasSubstr(".system', which is not on the list"));
  test::write_bundled("weights_2.15.0.bin", "zip dino flat", dir_ / "good.pth");
  const auto both = run_usol({"info", bad, (dir_ / "good.pth").string()});
  EXPECT_EQ(both.status, kSomeInputsFailed);
  EXPECT_THAT(both.out, HasSubstr("PyTorch zip"));
  EXPECT_EQ(run_usol({"info"}).status, kBadUsage);
  EXPECT_EQ(run_usol({"info", "/nonexistent"}).status, kFailure);
}

}  // namespace
}  // namespace usol::cli
