// `usol maskcut --device cuda` on a device that takes batches: what one picture becomes does not depend on the batch,
// and is what the CPU makes of it. In this process, since the device may be the emulation that only this program has.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/run_verb.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/io/safetensors.h"
#include "usol/models/vit.h"
#include "usol/nn/param_store.h"

namespace usol::cli {
namespace {

using Json = nlohmann::ordered_json;
using Words = std::vector<std::string>;

class CudaMaskcut : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
    VitConfig config;
    config.width = 64;
    config.depth = 2;
    config.grid = 4;
    config.mlp_hidden = 64;
    ParamStore store(5);
    const Vit vit(Scope(store), config);
    io::save_safetensors(folder_ / "w.safetensors", store.state_dict());
  }

  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  int maskcut(const Words& words) const {
    Words all = {test::source_path("tests/pictures"), "--weights", at("w.safetensors"), "-q"};
    all.insert(all.end(), words.begin(), words.end());
    return run_verb("maskcut", all);
  }
  Json parts(const std::string& name) const {
    const Json json = Json::parse(test::read_text(folder_ / name));
    return {json["images"], json["annotations"]};
  }

  test::TempDir folder_;
};

TEST_F(CudaMaskcut, APictureIsTheSameInEveryBatch) {
  ASSERT_EQ(maskcut({"--size", "96", "--out", at("cpu.json")}), kSuccess);
  ASSERT_EQ(maskcut({"--size", "96", "--out", at("all.json"), "--device", "cuda", "--batch", "7"}), kSuccess);
  const io::AnnotationSet host = io::read_coco(folder_ / "cpu.json"), device = io::read_coco(folder_ / "all.json");
  ASSERT_GE(host.annotations.size(), 4u);
  ASSERT_EQ(host.images.size(), device.images.size());
  ASSERT_EQ(host.annotations.size(), device.annotations.size());
  const Json ours = parts("all.json"), expected = parts("cpu.json");
  for (std::size_t i = 0; i < host.annotations.size(); ++i) {
    EXPECT_EQ(ours[1][i]["image_id"], expected[1][i]["image_id"]);
    EXPECT_EQ(ours[1][i]["bbox"], expected[1][i]["bbox"]);
    EXPECT_EQ(ours[1][i]["segmentation"], expected[1][i]["segmentation"]);
    EXPECT_NEAR(ours[1][i]["score"].get<double>(), expected[1][i]["score"].get<double>(), 1e-6);
  }
  // A batch that is not full, two shards, and pictures of other shapes.
  ASSERT_EQ(maskcut({"--size", "96", "--out", at("four.json"), "--device", "cuda", "--batch", "4"}), kSuccess);
  EXPECT_EQ(parts("four.json"), parts("all.json"));
  EXPECT_EQ(Json::parse(test::read_text(folder_ / "four.json"))["info"]["batch"], 4);
  ASSERT_EQ(maskcut({"--size", "96", "--out", at("s1.json"), "--device", "cuda", "--batch", "4", "--shard", "1/2"}),
            kSuccess);
  const Json shard = parts("s1.json");
  for (std::size_t i = 0; i < shard[1].size(); ++i) EXPECT_EQ(shard[1][i], ours[1][i]);
}

TEST_F(CudaMaskcut, AReplayedForwardPassGivesTheSame) {
  const Words words = {"--size", "64", "--no-crf", "--device", "cuda", "--batch", "2"};
  Words eager = words, replayed = words;
  eager.insert(eager.end(), {"--out", at("eager.json")});
  replayed.insert(replayed.end(), {"--out", at("replayed.json"), "--cuda-graph"});
  ASSERT_EQ(maskcut(eager), kSuccess);
  ASSERT_EQ(maskcut(replayed), kSuccess);
  EXPECT_EQ(test::read_text(folder_ / "replayed.json"), test::read_text(folder_ / "eager.json"));
}

TEST_F(CudaMaskcut, NativeAspectOverlaysAndDumps) {
  const Words words = {"--native-aspect", "--no-crf", "--size", "64"};
  Words on_cpu = words, on_device = words;
  on_cpu.insert(on_cpu.end(), {"--out", at("cpu.json"), "--dump", at("cpu")});
  on_device.insert(on_device.end(), {"--out", at("cuda.json"), "--device", "cuda", "--batch", "3", "--overlays",
                                     at("look"), "--dump", at("cuda")});
  ASSERT_EQ(maskcut(on_cpu), kSuccess);
  ASSERT_EQ(maskcut(on_device), kSuccess);
  EXPECT_EQ(parts("cuda.json")[0], parts("cpu.json")[0]);
  EXPECT_TRUE(std::filesystem::exists(folder_ / "look/rocket.jpg"));
  std::size_t arrays = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_ / "cpu")) {
    if (!entry.is_regular_file()) continue;
    EXPECT_TRUE(std::filesystem::exists(folder_ / "cuda" / std::filesystem::relative(entry.path(), folder_ / "cpu")));
    ++arrays;
  }
  EXPECT_GE(arrays, 7u * 5u);
}

}  // namespace
}  // namespace usol::cli
