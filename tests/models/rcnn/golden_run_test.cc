// The helpers of golden_run.h, and the detector's parameter names.
#include "tests/models/rcnn/golden_run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "tests/support/golden.h"
#include "usol/models/rcnn/matcher.h"

namespace usol::test {

RcnnConfig golden_config(std::int64_t stages, nn::NormKind norm) {
  RcnnConfig c = cutler_config(stages);
  ResNetConfig resnet;
  resnet.stem_channels = 4;
  resnet.res2_channels = 8;
  resnet.width_per_group = 2;
  resnet.norm = norm;
  c.backbone = resnet_fpn(resnet, {.channels = 8, .norm = norm});
  c.rpn.channels = c.heads.box.channels = 8;
  c.heads.mask->channels = c.heads.mask->hidden = 8;
  c.heads.box.hidden = 16;
  c.rpn.samples = 32;
  c.rpn.pre_nms_train = 60;
  c.rpn.post_nms_train = 100;
  c.rpn.pre_nms_test = 150;
  c.rpn.post_nms_test = 100;
  c.heads.samples = 48;
  c.heads.droploss.preset = Preset::kRelease;
  return c;
}

StateDict golden_weights(const std::string& run) {
  StateDict state;
  // The file has what the two models share under "cascade" only.
  for (const auto& [name, tensor] : load_golden("rcnn_weights.safetensors")) {
    const bool own = name.starts_with(run + "/");
    const bool shared =
        run == "mask" && name.starts_with("cascade/") && name.find("roi_heads.box_") == std::string::npos;
    if (own || shared) state[name.substr(name.find('/') + 1)] = tensor;  // its own come later in the order of names
  }
  return state;
}

VitDetConfig golden_vitdet() { return vitdet_config(load_golden("vitdet_weights.safetensors"), "backbone.").value(); }

// What the script chose, except for what a state dict's shapes say.
RcnnConfig golden_vitdet_config() {
  RcnnConfig c = rcnn_config(load_golden("vitdet_weights.safetensors")).value();
  c.rpn.samples = 32;
  c.rpn.pre_nms_train = 60;
  c.rpn.post_nms_train = 100;
  c.rpn.pre_nms_test = 150;
  c.rpn.post_nms_test = 100;
  c.heads.samples = 12;
  return c;
}

StateDict golden_vitdet_weights() {
  StateDict state = load_golden("vitdet_weights.safetensors");
  std::erase_if(state, [](const auto& entry) {
    return entry.first.starts_with("pixel_") || entry.first.find("anchor_generator") != std::string::npos;
  });
  return state;
}

std::vector<Tensor> golden_pictures() {
  const auto file = load_golden("rcnn_weights.safetensors");
  return {file.at("picture_0"), file.at("picture_1")};
}

std::vector<rcnn::Truths> golden_truths(bool second) {
  const auto file = load_golden("rcnn_weights.safetensors");
  std::vector<rcnn::Truths> truths;
  for (const char* n : {"0", "1"}) {
    const Tensor boxes = file.at(std::string("truth_boxes_") + n);
    truths.push_back({boxes, Tensor::zeros({boxes.size(0)}, DType::kI64), file.at(std::string("truth_masks_") + n)});
  }
  if (!second)
    truths[1] = {Tensor::zeros({0, 4}), Tensor::zeros({0}, DType::kI64), Tensor::zeros({0, 80, 120}, DType::kU8)};
  return truths;
}

GoldenRun::GoldenRun(const std::string& file, const std::string& run, const std::string& kind)
    : tensors_(load_golden(kind + file + ".safetensors")), run_(run) {}

const Tensor& GoldenRun::at(const std::string& name) const { return tensors_.at(run_ + "/" + name); }

std::vector<Tensor> GoldenRun::list(const std::string& name) const {
  std::vector<Tensor> result;
  while (has(name + "_" + std::to_string(result.size())))
    result.push_back(at(name + "_" + std::to_string(result.size())));
  return result;
}

rcnn::Sampler GoldenRun::sampler() const {
  const auto call = std::make_shared<int>(0);
  return [this, call](const Tensor& labels, const rcnn::SamplerOptions& options) {
    // Four calls a step: the anchors of both pictures, their regions.
    const std::string name = "sample_" + std::to_string(*call / 4) + "_" + std::to_string(*call % 4);
    ++*call;
    const Tensor positive = at(name + "_positive").to(DType::kI64), negative = at(name + "_negative").to(DType::kI64);
    // What the reference drew as positive and negative must be so here as well.
    const auto label = labels.to_vector<std::int64_t>();
    for (const std::int64_t i : positive.to_vector<std::int64_t>()) {
      EXPECT_NE(label.at(static_cast<std::size_t>(i)), options.background) << name;
      EXPECT_NE(label.at(static_cast<std::size_t>(i)), rcnn::kIgnored) << name;
    }
    for (const std::int64_t i : negative.to_vector<std::int64_t>())
      EXPECT_EQ(label.at(static_cast<std::size_t>(i)), options.background) << name;
    EXPECT_LE(positive.numel() + negative.numel(), options.count);
    return rcnn::SampledIndices{positive, negative};
  };
}

namespace {

TEST(RcnnNames, AreDetectron2s) {
  for (const auto& [run, stages] : {std::pair{"cascade", 3}, std::pair{"mask", 1}}) {
    ParamStore store(1);
    const Rcnn model(Scope(store), golden_config(stages));
    std::vector<std::string> ours = store.names(), theirs;
    for (const auto& [name, tensor] : golden_weights(run)) {
      theirs.push_back(name);
      if (store.entries().contains(name)) {
        EXPECT_EQ(store.entries().at(name).tensor.shape(), tensor.shape()) << name;
      }
    }
    std::sort(ours.begin(), ours.end());
    EXPECT_EQ(ours, theirs) << run;
  }
}

}  // namespace
}  // namespace usol::test
