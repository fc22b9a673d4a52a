#pragma once
// How a vision transformer is pre-trained without labels, apart from where its files lie: the settings of `usol
// pretrain`. The defaults are those of DINO's public code for a ViT-S/16.

#include <cstdint>
#include <string>

#include "usol/pipeline/crop_loader.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/settings.h"
#include "usol/pipeline/training_output.h"
#include "usol/train/multi_crop.h"
#include "usol/train/pretrainer.h"

namespace usol {

struct PretrainConfig {
  std::string preset = "dino-vits16";
  // Network.
  std::int64_t width = 384, depth = 12, patch = 16;
  double drop_path = 0.1;
  train::MultiCropOptions crops;
  DinoHeadConfig head;
  // Losses.
  double student_temperature = 0.1, centre_momentum = 0.9, patch_loss = 0;
  train::TemperatureSchedule teacher_temperature;
  // Steps.
  std::int64_t batch = 512, accumulate = 1, epochs = 100, warmup_epochs = 10, frozen_epochs = 1;
  double learning_rate = 0.0005, least_rate = 1e-6;  // learning_rate: for batches of 256, scaled linearly
  double weight_decay = 0.04, weight_decay_end = 0.4, momentum = 0.996, clip = 3;
  // Reading and output.
  PictureOptions pictures;
  double most_skipped = 0.01;
  TrainingOutput output{.checkpoint_every = 1000};
  std::int64_t pictures_every = 1000, workers = 2;
  bool overlap = true;

  /// Declares all of these.
  void declare(Settings& settings);
  /// Those of a settings file: its section [pretrain]. Throws as SettingsTable::read_file().
  static PretrainConfig from_toml(const std::string& path) {
    return config_from_toml<PretrainConfig>(path, "pretrain");
  }

  /// The patches along a side of a global crop.
  std::int64_t grid() const { return crops.global_px / patch; }
  /// What the parts of a pre-training make of them, for so many pictures. Throw Error(kUsage), naming the settings, on
  /// values that do not fit together. `position_grid`: that positions are stored for.
  train::PretrainerOptions pretrainer(std::int64_t pictures, std::int64_t position_grid) const;
  CropLoaderOptions loading(std::uint64_t seed) const;
};

}  // namespace usol
