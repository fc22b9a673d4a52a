// `usol sweep` as a user runs it: every point is what `usol maskcut` and `usol eval` make of its settings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;
using Words = std::vector<std::string>;

class SweepTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_ / "pictures");
    for (const char* name : {"camera.jpg", "clock.jpg"})
      fs::copy_file(fs::path(test::source_path("tests/pictures")) / name, folder_ / "pictures" / name);
  }
  test::ProcessResult usol(const Words& arguments, test::ProcessOptions options = {}, int processes = 1) {
    options.directory = folder_.path().string();
    return test::run_ranks(processes, arguments, options);
  }
  test::ProcessResult sweep(const Words& more, int processes = 1) {
    Words arguments = {"sweep", "pictures", "--backbone", "colour", "--no-crf", "--size", "96", "--out", "s"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return usol(arguments, {}, processes);
  }
  ordered_json json(const std::string& name) { return ordered_json::parse(test::read_text(folder_ / name)); }
  // What `usol maskcut` finds.
  std::string maskcut(const Words& more) {
    Words arguments = {"maskcut", "pictures", "--backbone", "colour", "--no-crf", "--out", "one.json", "--force"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const auto result = usol(arguments);
    EXPECT_EQ(result.status, 0) << result.err;
    return "one.json";
  }

  test::TempDir folder_;
};

TEST_F(SweepTest, PointsAreWhatMaskcutAndEvalMakeOfThem) {
  maskcut({"--size", "128", "--tau", "0.3"});
  fs::rename(folder_ / "one.json", folder_ / "truth.json");
  const auto result = sweep(
      {"--annotations", "truth.json", "--param", "tau=0.15,0.3", "--param", "masks=1,3", "--param", "size=96,128"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("8 points, features computed 2 times for each picture"));
  const ordered_json all = json("s/sweep.json");
  ASSERT_EQ(all["points"].size(), 8u);
  for (const auto& [tau, masks, size] : {std::tuple("0.3", "1", "128"), {"0.15", "3", "96"}, {"0.3", "3", "128"}}) {
    const std::string name = fmt::format("tau={},masks={},size={}", tau, masks, size);
    maskcut({"--tau", tau, "--masks", masks, "--size", size});
    const ordered_json mine = json("s/" + name + "/masks.json"), single = json("one.json");
    EXPECT_TRUE(mine["annotations"] == single["annotations"]) << name;
    EXPECT_EQ(mine["images"], single["images"]) << name;
    EXPECT_EQ(mine["info"]["settings"]["tau"], single["info"]["settings"]["tau"]) << name;
    ASSERT_EQ(usol({"eval", "--gt", "truth.json", "--pred", "one.json", "--pseudo-masks", "--out", "m.json", "--force"})
                  .status,
              0);
    const ordered_json metrics = json("m.json"), scored = json("s/" + name + "/metrics.json");
    for (const char* type : {"box", "mask"}) EXPECT_EQ(scored[type], metrics[type]) << name;
  }
  EXPECT_EQ(all["points"][7]["metrics"]["mask"]["AP"], 1.0) << "the truth was made so";
  EXPECT_THAT(test::read_text(folder_ / "s/sweep.md"), HasSubstr("| 0.3 | 3 | 128 |"));
  EXPECT_FALSE(fs::exists(folder_ / "s/cuts-1.json"));

  ASSERT_EQ(usol({"report", "s", "--out", "page.html"}).status, 0);
  const std::string page = test::read_text(folder_ / "page.html");
  EXPECT_THAT(page, HasSubstr("id=\"sweep\""));
  EXPECT_THAT(page, HasSubstr("mask AP50 over tau"));
  EXPECT_THAT(page, HasSubstr("tau 0.3, size 128"));
}

TEST_F(SweepTest, ProcessesShareThePictures) {
  if (const std::string why = test::no_ranks(); !why.empty()) GTEST_SKIP() << why;
  const Words params = {"--param", "tau=0.15,0.3", "--param", "size=64,96"};
  ASSERT_EQ(sweep(params).status, 0);
  fs::rename(folder_ / "s", folder_ / "alone");
  const auto shared = sweep(params, 2);
  ASSERT_EQ(shared.status, 0) << shared.err;
  std::size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "alone")) {
    if (!entry.is_regular_file()) continue;
    ++files;
    EXPECT_EQ(test::read_text(entry.path()),
              test::read_text(folder_ / "s" / fs::relative(entry.path(), folder_ / "alone")));
  }
  EXPECT_EQ(files, 8u);  // four points, three tables, and the list of what is ours
}

TEST_F(SweepTest, GoesOnAndRefusesOtherSettings) {
  const Words what = {"--one-at-a-time", "--param", "tau=0.1,0.2", "--param", "size=64,96"};
  const auto with = [&](const Words& more) {
    Words words = what;
    words.insert(words.end(), more.begin(), more.end());
    return sweep(words);
  };
  ASSERT_EQ(with({}).status, 0);
  const ordered_json first = json("s/sweep.json");
  EXPECT_EQ(first["points"][2]["settings"], ordered_json({{"size", "64"}}));
  EXPECT_FALSE(first["points"][0].contains("metrics"));
  EXPECT_EQ(with({}).status, kBadUsage);
  const std::string masks = test::read_text(folder_ / "s/size=64/masks.json");
  fs::remove_all(folder_ / "s/size=64");
  fs::remove(folder_ / "s/sweep.json");
  const auto again = with({"--resume"});
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.err, HasSubstr("3 points with these features are done"));
  EXPECT_EQ(test::read_text(folder_ / "s/size=64/masks.json"), masks);
  EXPECT_EQ(json("s/sweep.json"), first);
  const auto other = with({"--resume", "--max-ncut", "1"});
  EXPECT_EQ(other.status, kBadUsage);
  EXPECT_THAT(other.err, HasSubstr("max-ncut"));
  ASSERT_EQ(with({"--force", "--max-ncut", "1"}).status, 0);
}

TEST_F(SweepTest, RefusesWhatMakesNoSense) {
  const std::vector<std::pair<Words, std::string>> cases = {
      {{}, "nothing to vary"},
      {{"--param", "tau"}, "expected KEY=VALUE"},
      {{"--param", "tau=lots"}, "expected a number"},
      {{"--param", "masks=0"}, "at least 1"},
      {{"--param", "colour=1"}, "parameter colour: expected an option of usol maskcut"},
      {{"--param", "overlays=1"}, "parameter overlays: expected an option"},
      {{"--param", "batch=1"}, "train-config is missing"},  // usol train's
      {{"--param", "tau=0.1", "--annotations", "nowhere"}, "nowhere: no such file"},
      {{"--param", "tau=0.1", "--shard", "1/2"}, "--shard"},
  };
  for (const auto& [arguments, message] : cases) {
    const auto result = sweep(arguments);
    EXPECT_EQ(result.status, kBadUsage) << message;
    EXPECT_THAT(result.err, HasSubstr(message));
  }
  EXPECT_FALSE(fs::exists(folder_ / "s"));
  const auto dry = sweep({"--param", "tau=0.1,0.2", "--dry-run"});
  ASSERT_EQ(dry.status, 0) << dry.err;
  EXPECT_FALSE(fs::exists(folder_ / "s"));
}

TEST_F(SweepTest, PicturesThatFailAreTriedAgain) {
  test::write_text(folder_ / "pictures/broken.jpg", "no picture");
  EXPECT_EQ(sweep({"--param", "tau=0.1,0.2"}).status, kSomeInputsFailed);
  EXPECT_EQ(json("s/tau=0.2/masks.json")["info"]["failed"], ordered_json::array({"broken.jpg"}));
  fs::copy_file(folder_ / "pictures/clock.jpg", folder_ / "pictures/broken.jpg", fs::copy_options::overwrite_existing);
  const auto again = sweep({"--param", "tau=0.1,0.2", "--resume"});
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(json("s/tau=0.2/masks.json")["images"].size(), 3u);
}

}  // namespace
}  // namespace usol::cli
