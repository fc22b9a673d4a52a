#pragma once
// The settings of a training with an R-CNN, with CutLER's as defaults: what `usol train` offers of RcnnConfig.

#include <cstdint>
#include <memory>
#include <string>

#include "usol/models/backbone.h"
#include "usol/models/choice.h"
#include "usol/models/detector.h"

namespace usol {

struct RcnnConfig;

struct RcnnSettings : DetectorSettings {
  Choice<BackboneKind> backbone{"resnet"};
  std::int64_t stages = 3;        // 3: Cascade Mask R-CNN; 1: Mask R-CNN
  std::string mask_head = "on";   // "off": Cascade R-CNN, Faster R-CNN, from boxes alone
  std::string box_of = "region";  // "class": a box for each class of each region
  std::int64_t channels = 256, hidden = 1024, proposals = 4000;
  double rpn_nms = 0.65;
  bool droploss = true;
  double droploss_iou = 0.01;

  void declare(Settings& settings) override;
  MakeDetector make(const DetectorPlan& plan) const override;
  bool learns_masks() const override { return mask_head == "on"; }
  std::unique_ptr<DetectorSettings> clone() const override { return std::make_unique<RcnnSettings>(*this); }

 private:
  /// With the sizes that go with the backbone.
  RcnnConfig config_of_backbone(std::int64_t classes) const;
};

}  // namespace usol
