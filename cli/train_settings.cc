#include "usol/cli/train_settings.h"

#include <algorithm>
#include <map>

#include "usol/cli/whole_numbers.h"
#include "usol/models/fpn.h"
#include "usol/models/rcnn/rcnn.h"
#include "usol/models/vitdet.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

const std::map<std::string, std::map<std::string, std::string>> kPresets = {
    {"paper", {{"lr", "0.005"}, {"gamma", "0.2"}}},
    {"release", {{"lr", "0.01"}, {"gamma", "0.02"}}},
};

}  // namespace

void TrainSettings::declare(Options& options) {
  options.preset(preset, kPresets,
                 "paper: rates and losses as published; release: those of CutLER's public code, its quirks included");
  options.group("Data");
  pictures.declare(options);
  options.add("--short-sides PX", short_sides, "Each picture's short side becomes one of these, at random");
  options.add("--long-side PX", augment.long_side, "... but the long one no longer than this");
  options.at_least("long-side", 1);
  options.at_most("long-side", 16384);
  options.add("--flip P", augment.flip, "Probability of a left-right flip");
  options.at_least("flip", 0);
  options.at_most("flip", 1);
  options.add(
      "--most-skipped SHARE", most_skipped,
      "Share of the pictures that may be missing or damaged: others take their places, and DIR/skipped.txt lists "
      "them; more of them end the training",
      OptionKind::kRun);
  options.at_least("most-skipped", 0);
  options.at_most("most-skipped", 1);
  options.flag("--no-copy-paste", copy_paste, "Do not paste objects of one picture into another");
  options.add("--paste-least RATIO", paste.least_ratio, "Smallest size of a pasted picture, of its target's");
  options.at_least("paste-least", 0.01);
  options.at_most("paste-least", 1);
  options.add("--group-size N", group_size, "Pictures among which objects are pasted; of like shape");
  options.at_least("group-size", 1);
  options.group("Detector");
  options.choice("--arch", arch, {"resnet", "vitdet"},
                 "The backbone: a ResNet with a feature pyramid, or a plain ViT with patches of 16 px");
  options.add("--stages N", stages, "3: Cascade Mask R-CNN; 1: Mask R-CNN");
  options.add("--blocks N", blocks, "Blocks of res2 ... res5");
  options.add("--resnet-channels N", resnet_channels, "Width of res2's result");
  options.at_least("resnet-channels", 4);
  options.add("--vit-width N", vit_width, "ViTDet: width of the ViT, of which every 64 are a head");
  options.at_least("vit-width", 64);
  options.add("--vit-depth N", vit_depth, "ViTDet: blocks; the last one of each quarter attends to the whole picture");
  options.at_least("vit-depth", 4);
  options.add("--image-side PX", image_px, "ViTDet: pictures are padded to this square; give as --long-side no more");
  options.at_least("image-side", 32);
  options.at_most("image-side", 16384);
  options.add("--drop-path P", drop_path,
              "ViTDet: probability of leaving out the last block's branches; less before it");
  options.at_least("drop-path", 0);
  options.at_most("drop-path", 0.9);
  options.add("--channels N", channels, "Width of the pyramid and the mask head");
  options.at_least("channels", 1);
  options.add("--hidden N", hidden, "Width of the box head");
  options.at_least("hidden", 1);
  options.add("--rpn-nms IOU", rpn_nms, "Of proposals that overlap more than this, the best stays");
  options.at_least("rpn-nms", 0);
  options.at_most("rpn-nms", 1);
  options.add("--proposals N", proposals, "Proposals per picture");
  options.at_least("proposals", 1);
  options.group("Losses and steps");
  options.flag("--no-droploss", droploss, "Regions that overlap no object count as background in full");
  options.add("--droploss-iou IOU", droploss_iou, "... unless switched off: overlaps up to this are dropped");
  options.at_least("droploss-iou", 0);
  options.at_most("droploss-iou", 1);
  options.add("--batch N", batch, "Pictures per step");
  options.at_least("batch", 1);
  options.add(
      "--accumulate N", accumulate,
      "Passes per step, each over an equal share of the batch, to need less memory; norms see a share at a time");
  options.at_least("accumulate", 1);
  options.add("--reference-batch N", reference_batch,
              "The batch that the numbers below are meant for; rate and counts are scaled linearly to --batch");
  options.at_least("reference-batch", 1);
  options.add("--iterations N", base_schedule.iterations, "Steps");
  options.at_least("iterations", 1);
  options.add("--lr RATE", base_schedule.learning_rate, "Learning rate");
  options.add("--steps N", steps, "Steps at which the rate is multiplied by gamma");
  options.add("--gamma FACTOR", base_schedule.gamma, "See --steps");
  options.add("--warmup N", base_schedule.warmup, "Steps over which the rate grows from a thousandth");
  options.at_least("warmup", 0);
  options.choice("--optimizer", optimizer_name, {"sgd", "adamw"}, "What moves the weights");
  options.add("--momentum M", optimizer.momentum, "SGD's momentum");
  options.at_least("momentum", 0);
  options.at_most("momentum", 1);
  options.add("--beta1 B", optimizer.beta1, "AdamW's average of gradients");
  options.add("--beta2 B", optimizer.beta2, "AdamW's average of their squares");
  options.add("--epsilon E", optimizer.epsilon, "AdamW's, beside the root of that");
  options.add("--weight-decay W", optimizer.weight_decay, "Weight decay; norms have none");
  options.at_least("weight-decay", 0);
  options.add("--clip NORM", optimizer.clip_norm, "Largest norm of each parameter's gradient; 0: any");
  options.at_least("clip", 0);
  options.add("--faster MODULE", optimizer.faster, "Modules that learn faster, e.g. roi_heads.mask_head.predictor");
  options.add("--faster-by FACTOR", optimizer.faster_by, "... so many times");
  options.add("--layer-decay FACTOR", optimizer.layer_decay,
              "ViTDet: a block learns so many times as fast as the one above it");
  options.at_least("layer-decay", 0.01);
  options.at_most("layer-decay", 1);
  options.add("--ema DECAY", ema,
              "Keep a running average of the weights as well (0.999 say; 0: none); model_final_ema.safetensors has it");
  options.at_least("ema", 0);
  options.at_most("ema", 1);
  options.add("--precise-bn N", precise_bn,
              "Batches that give the norms' statistics anew after the last step, without copy-paste; 0: leave the "
              "running averages");
  options.at_least("precise-bn", 0);
  options.add("--precise-bn-every N", precise_bn_every, "... and every so many steps; 0: only then");
  options.at_least("precise-bn-every", 0);
  options.group("Output");
  options.add("--checkpoint-every N", checkpoint_every, "Steps between checkpoints", OptionKind::kRun);
  options.at_least("checkpoint-every", 1);
  options.add("--keep N", keep, "Checkpoints that stay", OptionKind::kRun);
  options.at_least("keep", 1);
  options.add("--log-every N", log_every, "Steps per line of metrics.json", OptionKind::kRun);
  options.at_least("log-every", 1);
  options.add("--pictures-every N", pictures_every,
              "Steps between pictures of what is learned and found in a batch, in DIR/pictures; 0: none",
              OptionKind::kRun);
  options.at_least("pictures-every", 0);
  options.add("--eval-annotations FILE", eval_annotations,
              "COCO file of held-out pictures: average precision goes to metrics.json", OptionKind::kRun);
  options.add("--eval-image-root DIR", eval_image_root, "The folder of its pictures", OptionKind::kRun);
  options.add("--eval-every N", eval_every, "Steps between evaluations; 0: after the last one only", OptionKind::kRun);
  options.at_least("eval-every", 0);
  options.add("--eval-short-side PX", eval_short_side, "Short side of pictures in evaluation", OptionKind::kRun);
  options.at_least("eval-short-side", 1);
  options.add("--workers N", workers, "Threads that prepare pictures", OptionKind::kRun);
  options.at_least("workers", 1);
  options.at_most("workers", 256);
  options.flag("--no-overlap", overlap,
               "Several processes: add up gradients after the backward pass, not during it; the results are the same",
               OptionKind::kRun);
}

MakeBackbone TrainSettings::backbone() const {
  if (arch == "vitdet") {
    check(vit_width % 64 == 0 && vit_depth % 4 == 0 && image_px % 32 == 0, ErrorKind::kUsage,
          "--vit-width {}, --vit-depth {}, --image-side {}: expected multiples of 64, 4 and 32", vit_width, vit_depth,
          image_px);
    VitDetConfig v;
    v.width = vit_width;
    v.depth = vit_depth;
    v.heads = vit_width / 64;
    v.mlp_hidden = 4 * vit_width;
    v.global_blocks = evenly_spaced_global_blocks(vit_depth);
    v.image_px = image_px;
    v.drop_path = drop_path;
    v.channels = channels;
    return vitdet_backbone(v);
  }
  const std::vector<std::int64_t> numbers = whole_numbers(blocks, "blocks");
  check(numbers.size() == 4, ErrorKind::kUsage, "--blocks: expected four numbers, got {}", numbers.size());
  check(resnet_channels % 4 == 0, ErrorKind::kUsage, "--resnet-channels {}: expected a multiple of 4", resnet_channels);
  ResNetConfig resnet;
  std::copy(numbers.begin(), numbers.end(), resnet.blocks.begin());
  resnet.res2_channels = resnet_channels;
  resnet.stem_channels = resnet.width_per_group = resnet_channels / 4;
  return resnet_fpn(resnet, {.channels = channels});
}

MakeDetector TrainSettings::detector(std::int64_t classes) const {
  check(stages == 1 || stages == 3, ErrorKind::kUsage, "--stages {}: expected 1 or 3", stages);
  RcnnConfig c = arch == "vitdet" ? vitdet_rcnn_config(stages, classes) : cutler_config(stages, classes);
  c.backbone = backbone();
  c.rpn.channels = c.heads.box.channels = channels;
  c.heads.mask->channels = c.heads.mask->hidden = channels;
  c.heads.box.hidden = hidden;
  c.rpn.nms = rpn_nms;
  c.rpn.post_nms_train = proposals;
  if (droploss) {
    const auto kind = preset == "release" ? rcnn::DropLossPreset::kRelease : rcnn::DropLossPreset::kPaper;
    c.heads.droploss = {kind, droploss_iou};
  }
  return rcnn_maker(c);
}

train::Schedule TrainSettings::schedule() const {
  train::Schedule schedule = base_schedule;
  schedule.steps = whole_numbers(steps, "steps");
  return train::scaled(schedule, batch, reference_batch);
}

train::TrainerOptions TrainSettings::trainer(std::uint64_t seed, DType precision) const {
  check(batch % accumulate == 0, ErrorKind::kUsage, "--accumulate {}: a batch of {} has no so many equal shares",
        accumulate, batch);
  train::TrainerOptions options;
  options.schedule = schedule();
  options.optimizer = optimizer;
  options.optimizer.kind = optimizer_name == "adamw" ? train::OptimizerKind::kAdamW : train::OptimizerKind::kSgd;
  options.seed = seed;
  options.repeat_on_bad_loss = preset == "release";
  options.accumulate = accumulate;
  options.precision = precision;
  options.ema_decay = ema;
  options.overlap = overlap;
  return options;
}

train::LoaderOptions TrainSettings::loading(std::uint64_t seed) const {
  train::LoaderOptions loading{.batch = batch, .group_size = group_size, .seed = seed};
  loading.augment = augment;
  loading.augment.short_sides = whole_numbers(short_sides, "short-sides");
  loading.copy_paste.reset();
  if (copy_paste) {
    loading.copy_paste = paste;
    loading.copy_paste->preset =
        preset == "release" ? train::CopyPastePreset::kRelease : train::CopyPastePreset::kPaper;
  }
  loading.threads = static_cast<int>(workers);
  return loading;
}

train::LoaderOptions TrainSettings::precise_loading(std::uint64_t seed) const {
  train::LoaderOptions options = loading(seed);
  options.copy_paste.reset();
  return options;
}

}  // namespace usol
