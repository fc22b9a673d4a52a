// The door of `usol discover`: a method that only this file knows, as docs/add_a_discover_method.md adds it.
#include "usol/maskcut/discoverer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/options.h"
#include "usol/cli/run_verb.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/safetensors.h"
#include "usol/maskcut/baselines/discovery.h"
#include "usol/pipeline/discover_methods.h"
#include "usol/tensor/check.h"

namespace usol::maskcut {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::HasSubstr;

// The largest connected part of the patches whose first channel exceeds a share of its range.
class Brightest : public Discoverer {
 public:
  void declare(Settings& settings) override {
    settings.add("share NUMBER", share_, "Patches above this share of the first channel's range").between(0, 1);
  }
  DiscoveredObjects find(const DiscoverScene& scene) const override {
    check_patch_features("brightest", scene.maps.features, scene.patch, scene.pixels);
    const Tensor channel = scene.maps.features.select(0, 0).contiguous();
    const std::vector<float> values = channel.to_vector<float>();
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    const double threshold = *least + share_ * (*most - *least);
    Tensor foreground = Tensor::empty(channel.shape(), DType::kU8);
    std::uint8_t* f = foreground.mutable_data<std::uint8_t>();
    for (std::size_t i = 0; i < values.size(); ++i) f[i] = values[i] > threshold;
    Discovery object{largest_component(foreground), {}, -1};
    if (mask_area(object.mask) == 0) return {};
    object.box = pixel_box(object.mask, scene.patch, scene.pixels);
    return in_picture({object}, scene);
  }

 private:
  double share_ = 0.5;
};
class DiscovererDoor : public testing::Test {
 protected:
  DiscovererDoor() {
    fs::create_directory(folder_ / "in");
    fs::create_directory(folder_ / "features");
    io::write_png(folder_ / "in/a.png", Tensor::zeros({45, 64, 3}, DType::kU8));
    // Of patches of 8 pixels: a bright rectangle of 2 x 3 patches, and a brighter one of one.
    Tensor features = Tensor::full({2, 6, 8}, 1);
    features.select(0, 0).slice(0, 1, 3).slice(1, 2, 5).fill(8);
    features.select(0, 0).slice(0, 5, 6).slice(1, 7, 8).fill(9);
    io::save_safetensors(folder_ / "features/a.safetensors", {{"features", features}});
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  // In this process: the binary does not know the method.
  int discover(std::vector<std::string> words) const {
    words.insert(words.begin(), {at("in"), "--from-features", at("features"), "--patch", "8", "--out", at("a.json"),
                                 "--threads", "1", "-q"});
    return cli::run_verb("discover", words);
  }
  std::string refusal(const std::vector<std::string>& words) const {
    try {
      discover(words);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.what();
    }
    return "accepted";
  }

  test::TempDir folder_;
};

TEST_F(DiscovererDoor, AMethodOfOneFileIsFoundChosenAndRecorded) {
  // In a file of the library this line stands outside functions; here the method is to be known to no other test.
  const RegisterDiscoverer<Brightest> kBrightest("brightest", "the largest bright part");
  ASSERT_EQ(discover({"--method", "brightest"}), 0);
  const io::AnnotationSet set = io::read_coco(folder_ / "a.json");
  ASSERT_EQ(set.annotations.size(), 1u);
  EXPECT_EQ(set.annotations[0].box, (io::Box{16, 8, 24, 16}));
  EXPECT_EQ(set.annotations[0].area, 24 * 16);
  const Json settings = Json::parse(set.info_json)["settings"];
  EXPECT_EQ(settings["method"], "brightest");
  EXPECT_EQ(settings["share"], 0.5);
  EXPECT_FALSE(settings.contains("tau"));
  // With a share of its own, the small bright part alone is bright enough.
  ASSERT_EQ(discover({"--method", "brightest", "--share", "0.9", "--force"}), 0);
  EXPECT_EQ(io::read_coco(folder_ / "a.json").annotations[0].box, (io::Box{56, 40, 8, 5}));
}

TEST_F(DiscovererDoor, ItsSettingsAreItsOwn) {
  const RegisterDiscoverer<Brightest> kBrightest("brightest", "the largest bright part");
  DiscoverMethod method;
  cli::Options options("usol discover", "discover", "");
  method.declare(options);
  EXPECT_THAT(options.help(), HasSubstr("brightest: the largest bright part; "));
  EXPECT_THAT(options.help(),
              HasSubstr("With method brightest:\n  --share NUMBER              Patches above this share of "
                        "the first channel's range (default 0.5)\n"));
  EXPECT_EQ(refusal({"--method", "lost", "--share", "0.5"}), "--share means nothing to method lost");
  EXPECT_EQ(refusal({"--method", "brightest", "--tau", "0.2"}), "--tau means nothing to method brightest");
  EXPECT_EQ(refusal({"--method", "brightest", "--share", "2"}), "--share: expected at most 1, got 2");
  EXPECT_EQ(refusal({"--method", "brightest", "--maps", at("maps")}), "--maps goes with --task saliency");
}

// The page shows this file's method, line by line.
TEST_F(DiscovererDoor, TheWalkThroughIsThisMethod) {
  std::ifstream page(test::source_path("docs/add_a_discover_method.md"));
  const std::string own = test::read_text(test::source_path("tests/maskcut/discoverer_test.cc"));
  int lines = 0;
  bool in_code = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("```")) {
      in_code = line == "```cpp";
      continue;
    }
    if (!in_code || line.empty()) continue;
    EXPECT_THAT(own, HasSubstr(line + "\n"));
    ++lines;
  }
  EXPECT_GT(lines, 20);
}

}  // namespace
}  // namespace usol::maskcut
