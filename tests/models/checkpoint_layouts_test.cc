// Detectors and backbones in the layouts of the public files (tests/golden/make_layouts.py): what `usol info` says of
// them, and how many of their tensors a training or a detector takes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/bundle.h"
#include "usol/io/checkpoint.h"
#include "usol/models/describe.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/tensor/error.h"
#include "usol/train/start_from.h"

namespace usol {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

class Layouts : public testing::Test {
 protected:
  static StateDict read(const std::string& file) {
    return io::parse_checkpoint(test::load_bundle("checkpoint_layouts.bin").at(file)).tensors;
  }
  // The same net at the same widths, to start a training of.
  static RcnnConfig tiny() {
    const StateDict state = read("cutler_cascade_final.pth");
    RcnnConfig c = *rcnn_config(state);
    FpnConfig fpn = fpn_config(state, "backbone.");
    fpn.norm = nn::NormKind::kSyncBn;
    c.backbone = resnet_fpn(*resnet_config(state, "backbone.bottom_up."), fpn);
    return c;
  }
  static train::StartReport start(const StateDict& state) {
    ParamStore store(1);
    const Rcnn model(Scope(store), tiny());
    return train::start_from(store, state, "file");
  }
};

constexpr std::size_t kResnetTensors = 5 * (1 + 5 * 3 + 4);  // convolutions with their norms

TEST_F(Layouts, BackbonesOfDinoAndMoco) {
  for (const char* file : {"dino_resnet50_pretrain.pth", "moco_v2_800ep_pretrain.pth.tar"}) {
    SCOPED_TRACE(file);
    const StateDict state = read(file);
    const Description d = describe_weights(state);
    EXPECT_EQ(d.architecture, "ResNet with 1-2-1-1 bottlenecks");
    EXPECT_THAT(d.facts, Contains(Pair("names", "torchvision's")));
    EXPECT_THAT(d.missing, IsEmpty());
    EXPECT_THAT(d.mismatched, IsEmpty());
    const train::StartReport report = start(state);
    EXPECT_EQ(report.loaded.size(), kResnetTensors);
    EXPECT_THAT(report.unused, IsEmpty());
    EXPECT_THAT(report.mismatched, IsEmpty());
  }
}

TEST_F(Layouts, BackbonesUnderDetectron2sNames) {
  const Description converted = describe_weights(read("R-50.pkl"));
  EXPECT_THAT(converted.facts, Contains(Pair("names", "Detectron2's")));
  EXPECT_THAT(converted.unexpected, ElementsAre("stem.fc.bias", "stem.fc.weight"));
  const Description bare = describe_weights(read("bare backbone.pth"));
  EXPECT_THAT(bare.facts, Contains(Pair("names", "Detectron2's, behind 'backbone.bottom_up.'")));
  EXPECT_THAT(bare.unexpected, IsEmpty());
  for (const Description& d : {converted, bare}) {
    EXPECT_EQ(d.architecture, "ResNet with 1-2-1-1 bottlenecks");
    EXPECT_THAT(d.missing, IsEmpty());
    EXPECT_THAT(d.mismatched, IsEmpty());
  }
  for (const char* file : {"R-50.pkl", "bare backbone.pth"})
    EXPECT_EQ(start(read(file)).loaded.size(), kResnetTensors) << file;
}

TEST_F(Layouts, CutlersDetectors) {
  for (const auto& [file, name] : {std::pair{"cutler_cascade_final.pth", "Cascade Mask R-CNN"},
                                   std::pair{"cutler_mrcnn_final.pth", "Mask R-CNN"}}) {
    SCOPED_TRACE(file);
    const Description d = describe_weights(read(file));
    EXPECT_EQ(d.architecture, name);
    EXPECT_THAT(d.missing, IsEmpty());
    EXPECT_THAT(d.unexpected, IsEmpty());
    EXPECT_THAT(d.mismatched, IsEmpty());
    EXPECT_NO_THROW(Rcnn::from_state(read(file), file));
  }
  const train::StartReport report = start(read("cutler_cascade_final.pth"));
  EXPECT_THAT(report.fresh, IsEmpty());
}

TEST_F(Layouts, DetectorsOfTheModelZoo) {
  const Description cascade = describe_weights(read("zoo cascade model_final.pkl"));
  EXPECT_EQ(cascade.architecture, "Cascade Mask R-CNN");
  EXPECT_THAT(cascade.missing, IsEmpty());
  EXPECT_THAT(cascade.unexpected, IsEmpty());
  EXPECT_THAT(cascade.facts, Contains(Pair("classes", "80")));
  EXPECT_NO_THROW(Rcnn::from_state(read("zoo cascade model_final.pkl"), "zoo"));
  const Description mask = describe_weights(read("zoo mask_rcnn model_final.pkl"));
  EXPECT_EQ(mask.architecture, "Mask R-CNN");
  EXPECT_THAT(mask.facts, Contains(Pair("boxes", "one per class")));
  EXPECT_THAT(mask.missing, IsEmpty());
  EXPECT_THAT(mask.unexpected, IsEmpty());
  EXPECT_THAT(mask.mismatched, IsEmpty());
  EXPECT_NO_THROW(Rcnn::from_state(read("zoo mask_rcnn model_final.pkl"), "zoo"));
  // Its norms have another place in the pyramid than CutLER's: a training takes what fits, and says so.
  const train::StartReport report = start(read("zoo mask_rcnn model_final.pkl"));
  EXPECT_THAT(report.loaded, Contains("backbone.bottom_up.res5.0.shortcut.norm.running_var"));
  EXPECT_THAT(report.fresh, Contains("backbone.fpn_output2.norm.weight"));
  EXPECT_THAT(report.unused, Contains("backbone.fpn_output2.bias"));
  EXPECT_THAT(report.mismatched, Contains("roi_heads.mask_head.predictor.bias: expected [1], got [80]"));
}

TEST_F(Layouts, WhatDoesNotFitADetectorIsListed) {
  StateDict state = read("cutler_cascade_final.pth");
  state.erase("roi_heads.box_head.1.fc2.bias");
  state["roi_heads.extra"] = Tensor::zeros({1});
  state["backbone.fpn_output5.weight"] = Tensor::zeros({4, 4, 1, 1});
  const Description d = describe_weights(state);
  EXPECT_THAT(d.missing, ElementsAre("roi_heads.box_head.1.fc2.bias [8]"));
  EXPECT_THAT(d.unexpected, ElementsAre("roi_heads.extra"));
  EXPECT_THAT(d.mismatched, ElementsAre("backbone.fpn_output5.weight: expected [4, 4, 3, 3], got [4, 4, 1, 1]"));
  EXPECT_THROW(Rcnn::from_state(state, "file"), Error);
  state["backbone.bottom_up.stem.conv1.weight"] = Tensor::empty({std::int64_t{1} << 60, 3, 0, 7});
  EXPECT_THAT(describe_weights(state).missing, IsEmpty()) << "of absurd sizes nothing is said";
}

}  // namespace
}  // namespace usol
