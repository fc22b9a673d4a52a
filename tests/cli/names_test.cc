// Names of files that are not UTF-8, which JSON cannot hold: a picture of such a name fails like one that cannot be
// read, and everything else, folders, weights and outputs, may have one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/rectangles.h"
#include "tests/support/small_vit.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/io/safetensors.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

namespace usol::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kBad = "caf\xe9";  // in Latin-1

class NamesTest : public testing::Test {
 protected:
  // Below a folder of such a name: photos/p0.png, p1.png and one more, and the truth of the first two.
  NamesTest() : root_(folder_ / kBad) {
    fs::create_directories(root_ / "photos");
    test::write_rectangles(root_ / "photos", {{48, 64, 2, 40, 3, 30}, {48, 64, 10, 40, 20, 50}});
    fs::rename(root_ / "photos/truth.json", root_ / "truth.json");
    fs::copy_file(root_ / "photos/p0.png", root_ / "photos" / (std::string(kBad) + ".png"));
    test::write_small_vit(root_ / "vit.safetensors");
  }
  std::string at(const std::string& name) const { return (root_ / name).string(); }
  test::ProcessResult usol(Words words) const {
    words.insert(words.end(), {"--threads", "1"});
    const test::ProcessResult result = test::run_usol(words);
    EXPECT_THAT(result.err, Not(HasSubstr("json.exception"))) << words[0];
    return result;
  }
  // All pictures but the one.
  void expect_one_failure(const std::string& verb, const Words& more) const {
    SCOPED_TRACE(verb);
    Words words{verb, at("photos"), "--out", at(verb)};
    words.insert(words.end(), more.begin(), more.end());
    const test::ProcessResult result = usol(words);
    EXPECT_EQ(result.status, kSomeInputsFailed) << result.err;
    EXPECT_THAT(result.err, HasSubstr("1 of 3 images failed:\n  caf\\xe9.png: its name is not UTF-8"));
  }
  Json info(const std::string& name) const { return Json::parse(io::read_coco(root_ / name).info_json); }

  test::TempDir folder_;
  fs::path root_;
};

TEST_F(NamesTest, ThatPictureFailsAndTheOthersAreDone) {
  const Words vit{"--weights", at("vit.safetensors"), "--size", "48"};
  expect_one_failure("maskcut", vit);
  EXPECT_EQ(info("maskcut")["failed"], Json({"caf\\xe9.png"}));
  EXPECT_EQ(io::read_coco(root_ / "maskcut").images.size(), 2u);
  expect_one_failure("run", vit);
  expect_one_failure("features", vit);
  EXPECT_TRUE(fs::exists(root_ / "features/p1.safetensors"));
  expect_one_failure("discover", {"--weights", at("vit.safetensors"), "--method", "lost"});
  expect_one_failure("sweep", {"--weights", at("vit.safetensors"), "--size", "48", "--param", "tau=0.1,0.2"});
  StateDict detector;
  for (const auto& [name, tensor] : test::load_golden("rcnn_weights.safetensors"))
    if (name.starts_with("cascade/")) detector[name.substr(8)] = tensor;
  io::save_safetensors(root_ / "detector.safetensors", detector);
  expect_one_failure("predict", {"--weights", at("detector.safetensors"), "--short-side", "48"});
}

TEST_F(NamesTest, FoldersAndFilesMayHaveThem) {
  fs::remove(root_ / "photos" / (std::string(kBad) + ".png"));
  const auto succeeds = [&](const Words& words) {
    const test::ProcessResult result = usol(words);
    EXPECT_EQ(result.status, kSuccess) << words[0] << ": " << result.err;
  };
  succeeds({"maskcut", at("photos"), "--weights", at("vit.safetensors"), "--size", "48", "--out", at("masks.json"),
            "--overlays", at("look"), "--times", at("times.json")});
  succeeds({"group", at("masks.json"), "--image-root", at("photos"), "--weights", at("vit.safetensors"), "--groups",
            "1", "--out", at("groups.json")});
  succeeds({"merge", "--self-training", "--previous", at("truth.json"), "--predictions", at("masks.json"), "--out",
            at("round.json"), "--score", "0"});
  succeeds({"gt", at("truth.json"), "--out", at("gt.json")});
  succeeds({"eval", "--gt", at("truth.json"), "--pred", at("masks.json"), "--match", "file_name", "--class-agnostic",
            "--out", at("scores.json")});
  succeeds({"report", at("masks.json"), "--images", at("photos"), "--annotations", at("truth.json"), "--out",
            at("page.html")});
  succeeds({"sweep", at("photos"), "--out", at("sweep"), "--size", "48", "--param", "weights=" + at("vit.safetensors"),
            "--param", "tau=0.1,0.2"});
  succeeds({"weights", at("vit.safetensors"), "--out", at("vit.pth")});
  succeeds({"info", at("vit.pth"), "--json"});
  succeeds({"pretrain",
            at("photos"),
            "--out",
            at("pretrained"),
            "--width",
            "64",
            "--depth",
            "1",
            "--global-px",
            "32",
            "--local-px",
            "16",
            "--local-crops",
            "1",
            "--head-hidden",
            "8",
            "--bottleneck",
            "8",
            "--out-dim",
            "8",
            "--epochs",
            "1",
            "--warmup-epochs",
            "0",
            "--batch",
            "2",
            "--pictures-every",
            "0"});
}

}  // namespace
}  // namespace usol::cli
