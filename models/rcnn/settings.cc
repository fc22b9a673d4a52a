#include "usol/models/rcnn/settings.h"

#include "usol/models/rcnn/rcnn.h"
#include "usol/tensor/check.h"

namespace usol {

void RcnnSettings::declare(Settings& settings) {
  settings.group("Detector");
  backbone.declare(settings, "arch",
                   "The backbone: a ResNet with a feature pyramid, or a plain ViT with patches of 16 px");
  settings.add("stages N", stages, "3: Cascade Mask R-CNN; 1: Mask R-CNN");
  // These two stood side by side before each had its own: records have them whatever is chosen.
  backbone.declare_settings(settings, "arch", {"resnet", "vitdet"});
  settings.add("channels N", channels, "Width of the pyramid and the mask head").at_least(1);
  settings.add("hidden N", hidden, "Width of the box head").at_least(1);
  settings.add("rpn-nms IOU", rpn_nms, "Of proposals that overlap more than this, the best stays").between(0, 1);
  settings.add("proposals N", proposals, "Proposals per picture").at_least(1);
  settings.group("Losses and steps");
  settings.flag("no-droploss", droploss, "Regions that overlap no object count as background in full");
  settings.add("droploss-iou IOU", droploss_iou, "... unless switched off: overlaps up to this are dropped")
      .between(0, 1);
}

MakeDetector RcnnSettings::make(const DetectorPlan& plan) const {
  check(stages == 1 || stages == 3, ErrorKind::kUsage, "stages {}: expected 1 or 3", stages);
  RcnnConfig c =
      backbone.name == "vitdet" ? vitdet_rcnn_config(stages, plan.classes) : cutler_config(stages, plan.classes);
  c.backbone = backbone.chosen().make(channels);
  c.rpn.channels = c.heads.box.channels = channels;
  c.heads.mask->channels = c.heads.mask->hidden = channels;
  c.heads.box.hidden = hidden;
  c.rpn.nms = rpn_nms;
  c.rpn.post_nms_train = proposals;
  if (droploss) c.heads.droploss = {plan.preset, droploss_iou};
  return rcnn_maker(c);
}

}  // namespace usol
