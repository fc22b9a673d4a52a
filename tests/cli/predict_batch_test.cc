// `usol predict --device cuda`: pictures of one padded size go through the network together, and what one becomes does
// not depend on the batch. In this process, since the device may be the emulation that only this program has.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/models/rcnn/golden_run.h"
#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/run_verb.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/io/safetensors.h"

namespace usol::cli {
namespace {

using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

class PredictBatch : public testing::Test {
 protected:
  void SetUp() override { io::save_safetensors(folder_ / "w.safetensors", test::golden_weights("cascade")); }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  io::AnnotationSet read(const std::string& name) const { return io::read_coco(folder_ / name); }

  // Seven pictures, small, of three padded sizes.
  int predict(const std::string& out, const Words& words) const {
    Words all = {test::source_path("tests/pictures"), "--weights", at("w.safetensors"), "-q", "--out", at(out)};
    all.insert(all.end(), {"--short-side", "32", "--long-side", "64", "--score", "0", "--most", "5"});
    all.insert(all.end(), words.begin(), words.end());
    return run_verb("predict", all);
  }

  test::TempDir folder_;
};

class CudaPredict : public PredictBatch {
 protected:
  void SetUp() override {
    if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
    PredictBatch::SetUp();
  }
};

void expect_near(const io::AnnotationSet& a, const io::AnnotationSet& b) {
  ASSERT_EQ(a.images.size(), 7u);
  ASSERT_EQ(a.annotations.size(), b.annotations.size());
  ASSERT_EQ(a.annotations.size(), 35u);
  for (std::size_t i = 0; i < a.annotations.size(); ++i) {
    EXPECT_EQ(a.annotations[i].image_id, b.annotations[i].image_id);
    EXPECT_NEAR(a.annotations[i].score, b.annotations[i].score, 1e-5);
    for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(a.annotations[i].box[k], b.annotations[i].box[k], 2e-2);
    EXPECT_NEAR(a.annotations[i].area, b.annotations[i].area, 1e-3 * b.annotations[i].area + 4);
  }
}

TEST_F(PredictBatch, OnACpuTheBytesAreThoseOfOneByOne) {
  ASSERT_EQ(predict("one.json", {}), kSuccess);
  ASSERT_EQ(predict("five.json", {"--batch", "5"}), kSuccess);
  EXPECT_EQ(test::read_text(folder_ / "five.json"), test::read_text(folder_ / "one.json"));
}

// One picture: on the emulated device each view takes seconds.
TEST_F(CudaPredict, TestTimeAugmentationIsThatOfACpu) {
  for (const std::string device : {"cpu", "cuda"})
    ASSERT_EQ(
        run_verb("predict", {test::source_path("tests/pictures/clock.jpg"), "--weights", at("w.safetensors"), "-q",
                             "--short-side", "32", "--long-side", "64", "--score", "0", "--most", "3", "--tta",
                             "--tta-short-sides", "24", "--device", device, "--out", at(device + ".json")}),
        kSuccess);
  const io::AnnotationSet cpu = read("cpu.json"), cuda = read("cuda.json");
  ASSERT_EQ(cuda.annotations.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(cuda.annotations[i].score, cpu.annotations[i].score, 1e-5);
    for (std::size_t k = 0; k < 4; ++k) EXPECT_NEAR(cuda.annotations[i].box[k], cpu.annotations[i].box[k], 2e-2);
    EXPECT_NEAR(cuda.annotations[i].area, cpu.annotations[i].area, 1e-3 * cpu.annotations[i].area + 4);
  }
}

TEST_F(CudaPredict, APictureIsTheSameInEveryBatch) {
  ASSERT_EQ(predict("cpu.json", {}), kSuccess);
  ASSERT_EQ(predict("all.json", {"--device", "cuda", "--batch", "7"}), kSuccess);
  expect_near(read("all.json"), read("cpu.json"));
  ASSERT_EQ(predict("two.json", {"--device", "cuda", "--batch", "2", "--overlays", at("look")}), kSuccess);
  expect_near(read("two.json"), read("all.json"));
  EXPECT_EQ(Json::parse(test::read_text(folder_ / "two.json"))["info"]["batch"], 2);
}

}  // namespace
}  // namespace usol::cli
