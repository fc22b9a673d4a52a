#pragma once
// The settings of a training with an R-CNN, with CutLER's as defaults: what `usol train` offers of RcnnConfig.

#include <cstdint>
#include <memory>

#include "usol/models/backbone.h"
#include "usol/models/choice.h"
#include "usol/models/detector.h"

namespace usol {

struct RcnnSettings : DetectorSettings {
  Choice<BackboneKind> backbone{"resnet"};
  std::int64_t stages = 3;  // 3: Cascade Mask R-CNN; 1: Mask R-CNN
  std::int64_t channels = 256, hidden = 1024, proposals = 4000;
  double rpn_nms = 0.65;
  bool droploss = true;
  double droploss_iou = 0.01;

  void declare(Settings& settings) override;
  MakeDetector make(const DetectorPlan& plan) const override;
  std::unique_ptr<DetectorSettings> clone() const override { return std::make_unique<RcnnSettings>(*this); }
};

}  // namespace usol
