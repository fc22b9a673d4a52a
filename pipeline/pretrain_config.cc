#include "usol/pipeline/pretrain_config.h"

#include <map>

#include "usol/tensor/check.h"

namespace usol {
namespace {

constexpr double kReferenceBatch = 256;  // that rates are given for

using Preset = std::map<std::string, std::string>;

// For little data and compute; nobody has published that it works.
const Preset kTiny = {{"width", "128"},
                      {"depth", "6"},
                      {"patch", "8"},
                      {"drop-path", "0"},
                      {"global-px", "96"},
                      {"local-px", "48"},
                      {"local-crops", "4"},
                      {"global-scale", "0.5,1"},
                      {"local-scale", "0.15,0.5"},
                      {"head-hidden", "512"},
                      {"bottleneck", "128"},
                      {"out-dim", "2048"},
                      {"patch-loss", "1"},
                      {"teacher-temp", "0.07"},
                      {"warmup-teacher-temp-epochs", "20"},
                      {"batch", "128"},
                      {"lr", "0.001"},
                      {"weight-decay-end", "0.2"},
                      {"momentum-teacher", "0.99"}};

// `preset` with other values.
Preset with(Preset preset, const Preset& changes) {
  for (const auto& [key, value] : changes) preset[key] = value;
  return preset;
}

// The arguments that the public code's README gives, and ours.
const std::map<std::string, Preset> kPresets = {
    {"dino-vits16", {}},
    {"dino-vits16-boosted",
     {{"epochs", "300"},
      {"batch", "1024"},
      {"teacher-temp", "0.07"},
      {"warmup-teacher-temp-epochs", "30"},
      {"norm-last-layer", "false"}}},
    {"dino-vitb16", {{"width", "768"}, {"batch", "1024"}}},
    {"small", with(kTiny, {{"width", "192"}, {"depth", "12"}, {"out-dim", "4096"}, {"batch", "256"}})},
    {"tiny", kTiny},
};

}  // namespace

void PretrainConfig::declare(Settings& settings) {
  settings.preset(preset, kPresets,
                  "dino-vits16: DINO's public code as it is, batch 512; dino-vits16-boosted, dino-vitb16: the commands "
                  "of its README; small, tiny: for little data and compute (docs/pretraining.md)");
  settings.group("Network");
  settings.add("width D", width, "Width, a multiple of 64; a head is 64 wide").between(64, 4096);
  settings.add("depth N", depth, "Blocks").between(1, 100);
  settings.add("patch PX", patch, "Side of a patch").between(1, 64);
  settings.add("drop-path P", drop_path, "Probability of leaving out the last block's branches; less before it")
      .between(0, 0.9);
  settings.add("head-hidden D", head.hidden, "Width of the projection head").between(1, 65536);
  settings.add("bottleneck D", head.bottleneck, "Width in front of its last layer").between(1, 65536);
  settings.add("out-dim K", head.out, "Prototypes, its outputs").between(2, 1048576);
  settings.flag("no-norm-last-layer", head.fixed_gain,
                "Let the prototypes' lengths be learned: better for small networks, less stable");
  settings.group("Crops");
  settings.add("global-px PX", crops.global_px, "Side of the two large crops, a multiple of patch").between(8, 4096);
  settings.add("local-px PX", crops.local_px, "Side of the small crops").between(8, 4096);
  settings.add("local-crops N", crops.locals, "Small crops of a picture").between(0, 64);
  settings.add("global-scale SHARE", crops.global_scale, "Least and most of the picture that a large crop has")
      .between(0, 1);
  settings.add("local-scale SHARE", crops.local_scale, "... and a small one").between(0, 1);
  settings.add("flip P", crops.flip, "Probability of a left-right flip").between(0, 1);
  settings.add("jitter P", crops.jitter, "... of other brightness, contrast, saturation and hue").between(0, 1);
  settings.add("grey P", crops.grey, "... of no colour").between(0, 1);
  settings.add("solarize P", crops.solarize, "... of inverted light parts, in the second large crop").between(0, 1);
  settings.group("Losses and steps");
  settings.add("batch N", batch, "Pictures per step, of all processes together").at_least(1);
  settings
      .add("accumulate N", accumulate,
           "Passes per step, each over an equal share of the batch, to need less memory; the steps are the same but "
           "for rounding",
           OptionKind::kRun)
      .at_least(1);
  settings.add("epochs N", epochs, "Passes over all pictures").at_least(1);
  settings.add("lr RATE", learning_rate, "Learning rate for a batch of 256, scaled linearly to the batch").at_least(0);
  settings.add("min-lr RATE", least_rate, "... at the end").at_least(0);
  settings.add("warmup-epochs N", warmup_epochs, "Epochs over which the rate grows from 0").at_least(0);
  settings.add("weight-decay W", weight_decay, "Weight decay; biases and norms have none").at_least(0);
  settings.add("weight-decay-end W", weight_decay_end, "... at the end").at_least(0);
  settings.add("clip NORM", clip, "Largest norm of each parameter's gradient; 0: any").at_least(0);
  settings.add("freeze-last-layer N", frozen_epochs, "Epochs in which the head's last layer stays as it began")
      .at_least(0);
  settings.add("momentum-teacher M", momentum, "Of the average that the teacher is; it grows to 1").between(0, 1);
  settings.add("student-temp T", student_temperature, "Temperature of the student's outputs").at_least(1e-3);
  settings.add("warmup-teacher-temp T", teacher_temperature.first, "... of the teacher's at the start").at_least(1e-3);
  settings.add("teacher-temp T", teacher_temperature.last, "... and after its warm-up").at_least(1e-3);
  settings.add("warmup-teacher-temp-epochs N", teacher_temperature.warmup_epochs, "Epochs of that warm-up").at_least(0);
  settings.add("centre-momentum M", centre_momentum, "Of the average that centres the teacher's outputs").between(0, 1);
  settings
      .add("patch-loss W", patch_loss,
           "Weight of iBOT's loss of patches that are hidden from the student; 0: none are hidden")
      .at_least(0);
  settings.group("Reading");
  pictures.declare(settings);
  settings
      .add("most-skipped SHARE", most_skipped,
           "Share of the pictures that may be missing or damaged: others take their places, and DIR/skipped.txt lists "
           "them; more of them end the training",
           OptionKind::kRun)
      .between(0, 1);
  settings.add("workers N", workers, "Threads that prepare pictures", OptionKind::kRun).between(1, 256);
  settings.group("Output");
  output.declare(settings);
  settings
      .add("pictures-every N", pictures_every,
           "Steps between pictures of what the teacher attends to, in DIR/pictures; 0: none", OptionKind::kRun)
      .at_least(0);
  settings.flag("no-overlap", overlap,
                "Several processes: add up gradients after the backward pass, not during it; the results are the same",
                OptionKind::kRun);
}

train::PretrainerOptions PretrainConfig::pretrainer(std::int64_t count, std::int64_t position_grid) const {
  crops.check_valid();
  check(width % 64 == 0, ErrorKind::kUsage, "width {}: expected a multiple of 64, the width of a head", width);
  check(crops.global_px % patch == 0 && (crops.locals == 0 || crops.local_px % patch == 0), ErrorKind::kUsage,
        "global-px {}, local-px {}: expected multiples of patch {}", crops.global_px, crops.local_px, patch);
  check(warmup_epochs < epochs, ErrorKind::kUsage, "warmup-epochs {}: expected fewer than the {} epochs", warmup_epochs,
        epochs);
  check(batch <= count, ErrorKind::kUsage,
        "batch {}: there are {} pictures, and a batch has each at most once; take a smaller batch", batch, count);
  check(batch % accumulate == 0, ErrorKind::kUsage, "accumulate {}: a batch of {} has no so many equal shares",
        accumulate, batch);
  train::PretrainerOptions o;
  o.vit = {.width = width,
           .depth = depth,
           .patch = patch,
           .grid = position_grid,
           .mlp_hidden = 4 * width,
           .mask_token = patch_loss > 0,
           .drop_path = drop_path};
  o.head = head;
  o.steps_per_epoch = steps_per_epoch(count, batch);
  const std::int64_t steps = epochs * o.steps_per_epoch;
  o.rate = {.first = learning_rate * static_cast<double>(batch) / kReferenceBatch,
            .last = least_rate,
            .iterations = steps,
            .warmup = warmup_epochs * o.steps_per_epoch};
  o.weight_decay = {.first = weight_decay, .last = weight_decay_end, .iterations = steps};
  o.momentum = {.first = momentum, .last = 1, .iterations = steps};
  o.teacher_temperature = teacher_temperature;
  o.frozen_epochs = frozen_epochs;
  o.accumulate = accumulate;
  o.student_temperature = student_temperature;
  o.centre_momentum = centre_momentum;
  o.patch_weight = patch_loss;
  o.clip_norm = clip;
  o.overlap = overlap;
  return o;
}

CropLoaderOptions PretrainConfig::loading(std::uint64_t seed) const {
  return {.crops = crops,
          .batch = batch,
          .seed = seed,
          .threads = static_cast<int>(workers),
          .passes = accumulate,
          .hidden_grid = patch_loss > 0 ? grid() : 0};
}

}  // namespace usol
