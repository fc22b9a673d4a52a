#include "usol/pipeline/train_config.h"

#include <map>

#include "usol/models/preset.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

const std::map<std::string, std::map<std::string, std::string>> kPresets = {
    {"paper", {}},  // the defaults
    {"release", {{"lr", "0.01"}, {"gamma", "0.02"}}},
};

}  // namespace

void TrainConfig::declare(Settings& settings) {
  settings.preset(preset, kPresets,
                  "paper: rates and losses as published; release: those of CutLER's public code, its quirks included");
  settings.group("Data");
  pictures.declare(settings);
  settings.add("short-sides PX", augment.short_sides, "Each picture's short side becomes one of these, at random")
      .at_least(1);
  settings.add("long-side PX", augment.long_side, "... but the long one no longer than this").between(1, 16384);
  settings.add("flip P", augment.flip, "Probability of a left-right flip").between(0, 1);
  settings
      .add("most-skipped SHARE", most_skipped,
           "Share of the pictures that may be missing or damaged: others take their places, and DIR/skipped.txt lists "
           "them; more of them end the training",
           OptionKind::kRun)
      .between(0, 1);
  // kLater, as for all settings that came after the first trainings: those go on.
  settings.choice("truth-boxes", truth_boxes, {"file", "masks", "corners"},
                  "The objects' boxes: the annotations', those around the masks, or the annotations' as FreeSOLO's "
                  "release reads its own, the far corner taken for a size (docs/deviations.md)",
                  OptionKind::kLater);
  settings.choice("views", views, {"one", "weak-and-strong"},
                  "weak-and-strong: each picture is in the batch twice, also with other colours, blurred and partly "
                  "erased; into that one objects of the others are pasted. So a batch has twice as many pictures",
                  OptionKind::kLater);
  settings.flag("no-copy-paste", copy_paste, "Do not paste objects of one picture into another");
  settings.choice("paste-objects", paste_objects, {"some", "any"},
                  "How many of a picture's n objects are pasted: some: 1 to n - 1 (CutLER); any: 0 to n (FreeSOLO)",
                  OptionKind::kLater);
  settings.add("paste-least RATIO", paste.least_ratio, "Smallest size of a pasted picture, of its target's")
      .between(0.01, 1);
  settings.add("group-size N", group_size, "Pictures among which objects are pasted; of like shape").at_least(1);
  settings.group("Detector");
  // kLater: trainings from when there was one kind go on.
  detector.declare(settings, "detector", "Its kind", OptionKind::kLater);
  detector.declare_settings(settings, "detector");
  settings.group("Losses and steps");
  settings.add("batch N", batch, "Pictures per step").at_least(1);
  settings
      .add("accumulate N", accumulate,
           "Passes per step, each over an equal share of the batch, to need less memory; norms see a share at a time")
      .at_least(1);
  settings
      .add("reference-batch N", reference_batch,
           "The batch that the numbers below are meant for; rate and counts are scaled linearly to the batch")
      .at_least(1);
  settings.add("iterations N", base_schedule.iterations, "Steps").at_least(1);
  settings.add("lr RATE", base_schedule.learning_rate, "Learning rate");
  settings.add("steps N", base_schedule.steps, "Steps at which the rate is multiplied by gamma").at_least(1);
  settings.add("gamma FACTOR", base_schedule.gamma, "See steps");
  settings.add("warmup N", base_schedule.warmup, "Steps over which the rate grows").at_least(0);
  settings.add("warmup-factor SHARE", base_schedule.warmup_factor, "... from this share of it", OptionKind::kLater)
      .between(0, 1);
  settings.choice("optimizer", optimizer_name, {"sgd", "adamw"}, "What moves the weights");
  settings.add("momentum M", optimizer.momentum, "SGD's momentum").between(0, 1);
  settings.add("beta1 B", optimizer.beta1, "AdamW's average of gradients");
  settings.add("beta2 B", optimizer.beta2, "AdamW's average of their squares");
  settings.add("epsilon E", optimizer.epsilon, "AdamW's, beside the root of that");
  settings.add("weight-decay W", optimizer.weight_decay, "Weight decay; norms have none").at_least(0);
  settings.add("clip NORM", optimizer.clip_norm, "Largest norm of each parameter's gradient; 0: any").at_least(0);
  settings.add("faster MODULE", optimizer.faster, "Modules that learn faster, e.g. roi_heads.mask_head.predictor");
  settings.add("faster-by FACTOR", optimizer.faster_by, "... so many times");
  settings
      .add("layer-decay FACTOR", optimizer.layer_decay,
           "ViTDet: a block learns so many times as fast as the one above it")
      .between(0.01, 1);
  settings
      .add("ema DECAY", ema,
           "Keep a running average of the weights as well (0.999 say; 0: none); model_final_ema.safetensors has it")
      .between(0, 1);
  settings
      .add("precise-bn N", precise_bn,
           "Batches that give the norms' statistics anew after the last step, without copy-paste; 0: leave the "
           "running averages")
      .at_least(0);
  settings.add("precise-bn-every N", precise_bn_every, "... and every so many steps; 0: only then").at_least(0);
  settings.group("Output");
  output.declare(settings);
  settings
      .add("pictures-every N", pictures_every,
           "Steps between pictures of what is learned and found in a batch, in DIR/pictures; 0: none", OptionKind::kRun)
      .at_least(0);
  settings.add("eval-annotations FILE", eval_annotations,
               "COCO file of held-out pictures: average precision goes to metrics.json", OptionKind::kRun);
  settings.add("eval-image-root DIR", eval_image_root, "The folder of its pictures", OptionKind::kRun);
  settings.add("eval-every N", eval_every, "Steps between evaluations; 0: after the last one only", OptionKind::kRun)
      .at_least(0);
  settings.add("eval-short-side PX", eval_short_side, "Short side of pictures in evaluation", OptionKind::kRun)
      .at_least(1);
  settings.add("workers N", workers, "Threads that prepare pictures", OptionKind::kRun).between(1, 256);
  settings.flag("no-overlap", overlap,
                "Several processes: add up gradients after the backward pass, not during it; the results are the same",
                OptionKind::kRun);
}

MakeDetector TrainConfig::make_detector(std::int64_t classes) const {
  return detector.chosen().make({.classes = classes, .preset = parse_preset(preset)});
}

train::Schedule TrainConfig::schedule() const { return train::scaled(base_schedule, batch, reference_batch); }

train::TrainerOptions TrainConfig::trainer(std::uint64_t seed, DType precision) const {
  check(batch % accumulate == 0, ErrorKind::kUsage, "accumulate {}: a batch of {} has no so many equal shares",
        accumulate, batch);
  train::TrainerOptions options;
  options.schedule = schedule();
  options.optimizer = optimizer;
  options.optimizer.kind = optimizer_name == "adamw" ? train::OptimizerKind::kAdamW : train::OptimizerKind::kSgd;
  options.seed = seed;
  options.repeat_on_bad_loss = parse_preset(preset) == Preset::kRelease;
  options.accumulate = accumulate;
  options.precision = precision;
  options.ema_decay = ema;
  options.overlap = overlap;
  return options;
}

train::LoaderOptions TrainConfig::loading(std::uint64_t seed) const {
  train::LoaderOptions loading{.batch = batch, .group_size = group_size, .seed = seed};
  loading.augment = augment;
  loading.boxes = train::parse_truth_boxes(truth_boxes);
  if (views == "weak-and-strong") loading.strong_views.emplace();
  loading.copy_paste.reset();
  if (copy_paste && detector.chosen().learns_masks()) {
    loading.copy_paste = paste;
    loading.copy_paste->preset = parse_preset(preset);
    loading.copy_paste->any_number = paste_objects == "any";
  }
  loading.threads = static_cast<int>(workers);
  return loading;
}

train::LoaderOptions TrainConfig::precise_loading(std::uint64_t seed) const {
  train::LoaderOptions options = loading(seed);
  options.copy_paste.reset();
  options.strong_views.reset();
  return options;
}

}  // namespace usol
