// The registries of models/: networks that only this file knows are recognised, described, loaded and run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "usol/models/backbone.h"
#include "usol/models/describe.h"
#include "usol/models/patch_backbone.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/nn/conv.h"
#include "usol/ops/pool2d.h"
#include "usol/tensor/error.h"
#include "usol/train/start_from.h"

namespace usol {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

bool nothing(const std::string&) { return false; }

Description described(const std::string& architecture) {
  Description description;
  description.architecture = architecture;
  return description;
}

// A detector's backbone of one convolution and poolings.
class ToyBackbone : public Backbone {
 public:
  explicit ToyBackbone(const Scope& scope, std::int64_t channels)
      : conv_(scope / "toy", 3, channels, 4, {.stride = 4}) {
    for (int level = 2; level <= 6; ++level)
      outputs_.push_back({"p" + std::to_string(level), channels, std::int64_t{1} << level});
  }
  const std::vector<FeatureSpec>& outputs() const override { return outputs_; }
  std::vector<Tensor> forward(const Tensor& images, const Context& context) const override {
    std::vector<Tensor> maps{conv_(images, context)};
    while (maps.size() < 5) maps.push_back(max_pool2d(maps.back(), {.kernel = {2, 2}, .stride = {2, 2}}));
    return maps;
  }
  std::int64_t size_divisibility_px() const override { return 64; }
  std::int64_t square_px() const override { return 128; }
  std::string name() const override { return "Toy"; }

 private:
  nn::Conv2d conv_;
  std::vector<FeatureSpec> outputs_;
};

MakeBackbone toy(std::int64_t channels) {
  return [channels](const Scope& scope) { return std::make_unique<ToyBackbone>(scope, channels); };
}

const Registry<BackboneKind>::Add kToyBackbone({"toy",
                                                [](const StateDict& state, const std::string& prefix) -> MakeBackbone {
                                                  const auto found = state.find(prefix + "toy.weight");
                                                  if (found == state.end()) return {};
                                                  return toy(found->second.size(0));
                                                },
                                                [](const StateDict& state,
                                                   const std::string& prefix) -> std::optional<Description> {
                                                  if (!state.contains(prefix + "toy.weight")) return std::nullopt;
                                                  return described("a toy");
                                                },
                                                "toy_place."});

TEST(Doors, ADetectorOnABackboneOfItsOwn) {
  RcnnConfig config = cutler_config(1);
  config.backbone = toy(8);
  config.rpn.channels = config.heads.box.channels = config.heads.mask->channels = config.heads.mask->hidden = 8;
  config.heads.box.hidden = 16;
  ParamStore store(1);
  const Rcnn made(Scope(store), config);
  StateDict state = store.state_dict();
  state["pixel_mean"] = Tensor::zeros({3});
  const auto loaded = load_detector(state, "toy.pth");
  EXPECT_EQ(loaded->info().name, "Mask R-CNN on Toy");
  EXPECT_EQ(loaded->info().short_px, 128);
  EXPECT_EQ(loaded->info().step_px, 64);
  const std::vector<Tensor> pictures{Tensor::full({40, 60, 3}, 90, DType::kU8)};
  const auto found = loaded->detect(pictures)[0], expected = made.detect(pictures)[0];
  EXPECT_EQ(found.boxes.to_vector<float>(), expected.boxes.to_vector<float>());
  EXPECT_EQ(found.masks.to_vector<float>(), expected.masks.to_vector<float>());

  const Description d = describe_weights(state);
  EXPECT_EQ(d.architecture, "Mask R-CNN");
  EXPECT_THAT(d.facts, Contains(Pair("backbone", "a toy")));
  EXPECT_THAT(d.missing, IsEmpty());
  EXPECT_THAT(d.unexpected, IsEmpty());
  state.erase("backbone.toy.bias");
  EXPECT_THAT(describe_weights(state).missing, ElementsAre("backbone.toy.bias [8]"));
  EXPECT_THROW(load_detector(state, "toy.pth"), Error);
}

// A parameter in the place that a kind names is found under the name of the network alone.
TEST(Doors, ATrainingStartsFromTheNetworkThatHasItsPlaceThere) {
  ParamStore store;
  Scope(store).wide_parameter("backbone.toy_place.weight", {2}, init::zeros());
  const auto report = train::start_from(store, {{"weight", Tensor::full({2}, 3)}}, "file");
  EXPECT_THAT(report.loaded, ElementsAre("backbone.toy_place.weight"));
}

// A patch backbone whose features are its one number.
class ToyPatches : public PatchBackbone {
 public:
  explicit ToyPatches(const Scope& scope) : number_(scope.parameter("toy_number", {1}, init::ones())) {}
  std::string name() const override { return "Toy"; }
  std::int64_t patch_px() const override { return 4; }
  std::int64_t layers() const override { return 3; }
  Tensor position(std::int64_t, std::int64_t) const override { return {}; }

 protected:
  PartMaps part_maps(const Tensor& images, const FeatureParts& parts, bool, const Tensor&) const override {
    PartMaps maps;
    for (const FeaturePart& part : parts)
      maps.parts.push_back(Tensor::full({images.size(0), 1, images.size(2) / 4, images.size(3) / 4},
                                        number_.item() + static_cast<double>(part.layer)));
    return maps;
  }

 private:
  Tensor number_;
};

const Registry<PatchBackboneKind>::Add kToyPatches({"toy", "a toy",
                                                    [](const StateDict& state) -> MakePatchBackbone {
                                                      if (!state.contains("toy_number")) return {};
                                                      return [](const Scope& scope) {
                                                        return std::make_unique<ToyPatches>(scope);
                                                      };
                                                    },
                                                    nothing,
                                                    [](const StateDict& state) -> std::optional<Description> {
                                                      if (!state.contains("toy_number")) return std::nullopt;
                                                      return described("toy patches");
                                                    }});

TEST(Doors, APatchBackboneOfItsOwn) {
  const StateDict state{{"toy_number", Tensor::full({1}, 5)}};
  const auto backbone = load_patch_backbone(state, "toy.pth");
  const Tensor images = Tensor::zeros({1, 3, 8, 12});
  EXPECT_EQ(backbone->features(images).to_vector<float>(), std::vector<float>(6, 7.0f));
  EXPECT_EQ(backbone->features(images, FeatureKind::kK, 0).to_vector<float>(), std::vector<float>(6, 5.0f));
  EXPECT_THROW(backbone->features(images, FeatureKind::kK, 3), Error);
  EXPECT_THROW(backbone->features(Tensor::zeros({1, 3, 9, 12})), Error);
  EXPECT_EQ(describe_weights(state).architecture, "toy patches");
  EXPECT_THAT(describe_weights({{"toy_number", Tensor::zeros({2})}}).mismatched,
              ElementsAre("toy_number: expected [1], got [2]"));
  try {
    load_patch_backbone({{"weight", Tensor::zeros({1})}}, "file.pth");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr(" and not a toy and not a DINO, DINOv2 or DINOv3 vision transformer"));
  }
}

}  // namespace
}  // namespace usol
