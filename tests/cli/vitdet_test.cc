// ViTDet as a user has it: `usol train --arch vitdet` from a DINO ViT's weights, `usol info` and `usol predict` on what
// comes out.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "cli/verb.h"
#include "io/coco.h"
#include "io/image.h"
#include "io/rle.h"
#include "io/safetensors.h"
#include "models/vit.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace usol {
namespace {

class VitDetVerbs : public testing::Test {
 protected:
  VitDetVerbs() {
    CocoWriter writer(folder_ / "truth.json");
    for (std::int64_t i = 0; i < 2; ++i) {
      const std::string name = fmt::format("p{}.png", i);
      Tensor image = Tensor::full({48, 64, 3}, 40, DType::kU8), mask = Tensor::zeros({48, 64}, DType::kU8);
      for (Tensor* tensor : {&image, &mask})
        tensor->slice(0, 4 + 4 * i, 36 + 4 * i).slice(1, 20, 52).fill(tensor == &mask ? 1 : 220);
      write_png(folder_ / name, image);
      writer.add_image({i + 1, 48, 64, name});
      CocoAnnotation annotation;
      annotation.id = annotation.image_id = i + 1;
      annotation.category_id = 1;
      annotation.box = {20, static_cast<double>(4 + 4 * i), 32, 32};
      writer.add_annotation(annotation, rle_encode(mask));
    }
    writer.finish(std::vector<CocoCategory>{{1, "fg", "fg"}});
    VitConfig dino;
    dino.width = 64;
    dino.depth = 8;
    dino.mlp_hidden = 256;
    ParamStore store(1);
    const Vit vit(Scope(store), dino);
    save_safetensors(folder_ / "dino.safetensors", store.state_dict());
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  test::ProcessResult train(const std::string& out, const std::string& depth,
                            std::vector<std::string> more = {}) const {
    std::vector<std::string> words{"train",
                                   "--arch",
                                   "vitdet",
                                   "--vit-width",
                                   "64",
                                   "--vit-depth",
                                   depth,
                                   "--image-side",
                                   "64",
                                   "--short-sides",
                                   "48",
                                   "--long-side",
                                   "64",
                                   "--channels",
                                   "8",
                                   "--hidden",
                                   "16",
                                   "--batch",
                                   "2",
                                   "--iterations",
                                   "2",
                                   "--steps",
                                   "2",
                                   "--proposals",
                                   "50",
                                   "--threads",
                                   "1",
                                   "--annotations",
                                   at("truth.json"),
                                   "--image-root",
                                   folder_.path().string(),
                                   "--out",
                                   at(out)};
    words.insert(words.end(), more.begin(), more.end());
    return test::run_usol(words);
  }
  test::TempDir folder_;
};

TEST_F(VitDetVerbs, TrainFromDinoThenInfoAndPredict) {
  const auto trained = train("run", "8", {"--weights", at("dino.safetensors")});
  ASSERT_EQ(trained.status, 0) << trained.err;
  // Position, patches and twelve tensors of each block; the class token and the last norm have no place.
  EXPECT_NE(trained.err.find("99 of the detector's"), std::string::npos) << trained.err;
  const auto info = test::run_usol({"info", at("run/model_final.safetensors")});
  EXPECT_NE(info.out.find("ViT with 8 blocks, simple feature pyramid"), std::string::npos) << info.out;
  const auto found = test::run_usol({"predict", at("p0.png"), "--weights", at("run/model_final.safetensors"), "--out",
                                     at("found.json"), "--score", "0"});
  ASSERT_EQ(found.status, 0) << found.err;
  EXPECT_NE(found.err.find("Cascade Mask R-CNN on ViTDet"), std::string::npos) << found.err;
  const auto json = nlohmann::json::parse(test::read_text(folder_ / "found.json"));
  EXPECT_FALSE(json["annotations"].empty());
}

TEST_F(VitDetVerbs, WrongSizesAreNamed) {
  const auto odd = train("odd", "6");
  EXPECT_EQ(odd.status, kBadUsage);
  EXPECT_NE(odd.err.find("--vit-depth 6"), std::string::npos) << odd.err;
}

}  // namespace
}  // namespace usol
