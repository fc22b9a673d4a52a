#pragma once
// A detector of a few channels on pictures of 48 px, which learns two pictures a step in a blink: for tests of what
// surrounds training.

#include "usol/models/fpn.h"
#include "usol/models/rcnn/settings.h"
#include "usol/pipeline/train_config.h"

namespace usol::test {

inline TrainConfig tiny_training() {
  TrainConfig tiny;
  auto& rcnn = tiny.detector.as<RcnnSettings>();
  auto& resnet = rcnn.backbone.as<ResNetFpnSettings>();
  resnet.blocks = {1, 1, 1, 1};
  resnet.resnet_channels = 16;
  rcnn.channels = 8;
  rcnn.hidden = 16;
  rcnn.proposals = 30;
  tiny.augment.short_sides = {48};
  tiny.batch = tiny.reference_batch = 2;
  return tiny;
}

}  // namespace usol::test
