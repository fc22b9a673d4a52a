#include "usol/models/solov2/settings.h"

#include <utility>

#include "usol/models/fpn.h"
#include "usol/models/solov2/solov2.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

constexpr double kPaperEmbeddingWeight = 4;

}  // namespace

// Detectron2's defaults, which both public codes keep: norms frozen in the ResNet, none in the pyramid.
Solov2Settings::Solov2Settings() {
  auto& resnet = backbone.as<ResNetFpnSettings>();
  resnet.norm = resnet.usual_norm = "FrozenBN";
}

void Solov2Settings::declare(Settings& settings) {
  backbone.declare(settings, "arch",
                   "The backbone: a ResNet with a feature pyramid, or a plain ViT with patches of 16 px");
  backbone.declare_settings(settings, "arch");
  settings.add("channels N", channels, "Width of the pyramid").at_least(1);
  settings.add("instance-channels N", instance_channels, "Width of the towers over the grids; a multiple of 32")
      .at_least(32);
  settings.add("instance-convolutions N", instance_convolutions, "Convolutions of each tower").between(1, 64);
  settings.add("mask-channels N", mask_channels, "Width of the mask branch; a multiple of 32").at_least(32);
  settings.add("kernel-channels N", kernel_channels, "Numbers of a mask's 1 x 1 kernel; a multiple of 32").at_least(32);
  settings.choice("loss", loss, {"supervised", "freesolo", "boxinst"},
                  "supervised: dice over whole masks. freesolo: for coarse masks of one class, their projections, "
                  "neighbours of one colour and embeddings. boxinst: masks from boxes alone, by their projections and "
                  "neighbours of one colour");
  settings.when("loss", "supervised",
                [&](Settings& s) { s.add("dice-weight W", dice_weight, "Weight of the masks' loss").at_least(0); });
  const auto declare_pairs = [this](Settings& s, std::int64_t& warmup) {
    s.add("pairwise-weight W", pairwise_weight, "Weight of the loss of neighbours of one colour").at_least(0);
    s.add("pairwise-warmup N", warmup, "Steps over which it grows").at_least(0);
    s.add("bottom-px N", bottom_px, "Rows at the bottom of a picture's file whose colours do not count").at_least(0);
  };
  settings.when("loss", "freesolo", [&](Settings& s) {
    declare_pairs(s, pairwise_warmup);
    s.add("embedding N", embedding, "Numbers that stand for an object's looks").at_least(1);
    s.add("embedding-weight W", embedding_weight,
          "Weight of their loss. Without it 4 with preset paper, and 0 with preset release, which leaves it out")
        .at_least(0);
  });
  settings.when("loss", "boxinst", [&](Settings& s) { declare_pairs(s, boxinst_warmup); });
}

double Solov2Settings::embedding_weight_of(Preset preset) const {
  return embedding_weight.value_or(preset == Preset::kRelease ? 0 : kPaperEmbeddingWeight);
}

std::int64_t Solov2Settings::learned_embedding(Preset preset) const {
  return loss == "freesolo" && embedding_weight_of(preset) > 0 ? embedding : 0;
}

MakeDetector Solov2Settings::make(const DetectorPlan& plan) const {
  const bool free = loss == "freesolo", release = plan.preset == Preset::kRelease;
  check(!free || plan.classes == 1, ErrorKind::kUsage,
        "loss freesolo: it learns objects without classes, but the annotations have {} categories", plan.classes);
  check(backbone.chosen().makes_pyramid(), ErrorKind::kUsage,
        "arch {}: SOLOv2 needs the five maps of a pyramid, and this backbone has one", backbone.name);
  solov2::Config c;
  for (const auto& [name, width] : {std::pair{"instance-channels", instance_channels},
                                    {"mask-channels", mask_channels},
                                    {"kernel-channels", kernel_channels}})
    check(width % c.norm_groups == 0, ErrorKind::kUsage, "{} {}: expected a multiple of {}, the groups of the norms",
          name, width, c.norm_groups);
  c.backbone = backbone.chosen().make(channels);
  c.channels = channels;
  c.classes = plan.classes;
  c.instance_channels = instance_channels;
  c.instance_convolutions = instance_convolutions;
  c.mask_channels = mask_channels;
  c.kernel_channels = kernel_channels;
  c.losses.dice_weight = dice_weight;
  c.losses.pairwise_weight = pairwise_weight;
  c.losses.bottom_px = bottom_px;
  if (loss == "boxinst") {
    c.losses.kind = solov2::LossKind::kBoxInst;
    c.losses.pairwise_warmup = boxinst_warmup;
  }
  if (free) {
    c.losses.kind = solov2::LossKind::kFreeSolo;
    c.spare_outputs = release ? 1 : 0;
    c.embedding = embedding;
    c.losses.pairwise_warmup = pairwise_warmup;
    c.losses.embedding_weight = embedding_weight_of(plan.preset);
  }
  return solov2::maker(c);
}

}  // namespace usol
