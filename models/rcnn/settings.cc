#include "usol/models/rcnn/settings.h"

#include "usol/models/rcnn/rcnn.h"
#include "usol/models/resnet_c4.h"
#include "usol/tensor/check.h"

namespace usol {

void RcnnSettings::declare(Settings& settings) {
  settings.group("Detector");
  backbone.declare(
      settings, "arch",
      "The backbone: a ResNet with a feature pyramid, a plain ViT with patches of 16 px, or a ResNet up to "
      "res4 (C4: with one stage, and mask-head off)");
  settings.add("stages N", stages, "3: Cascade Mask R-CNN; 1: Mask R-CNN");
  // kLater: trainings from when all had masks go on.
  settings.choice("mask-head", mask_head, {"on", "off"},
                  "off: boxes alone, by a Cascade R-CNN or (with one stage) a Faster R-CNN; annotations need no masks",
                  OptionKind::kLater);
  settings.choice("box-of", box_of, {"region", "class"},
                  "One box of each region, or one for each class (with one stage, and without DropLoss)",
                  OptionKind::kLater);
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

RcnnConfig RcnnSettings::config_of_backbone(std::int64_t classes) const {
  if (const auto* c4 = dynamic_cast<const ResNetC4Settings*>(&backbone.chosen())) {
    check(stages == 1 && mask_head == "off", ErrorKind::kUsage,
          "arch {}: its heads have one stage and no masks; give stages 1 and mask-head off", backbone.name);
    return c4_config(c4->resnet(), c4->norm_after_res5, classes);
  }
  RcnnConfig c = backbone.name == "vitdet" ? vitdet_rcnn_config(stages, classes) : cutler_config(stages, classes);
  c.backbone = backbone.chosen().make(channels);
  c.rpn.channels = c.heads.box.channels = channels;
  c.heads.mask->channels = c.heads.mask->hidden = channels;
  c.heads.box.hidden = hidden;
  return c;
}

MakeDetector RcnnSettings::make(const DetectorPlan& plan) const {
  check(stages == 1 || stages == 3, ErrorKind::kUsage, "stages {}: expected 1 or 3", stages);
  check(box_of == "region" || (stages == 1 && !droploss), ErrorKind::kUsage,
        "box-of class goes with stages 1, and without DropLoss");
  RcnnConfig c = config_of_backbone(plan.classes);
  if (mask_head == "off") c.heads.mask.reset();
  c.heads.box.class_agnostic = box_of == "region";
  c.rpn.nms = rpn_nms;
  c.rpn.post_nms_train = proposals;
  if (droploss) c.heads.droploss = {plan.preset, droploss_iou};
  return rcnn_maker(c);
}

}  // namespace usol
