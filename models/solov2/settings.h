#pragma once
// The settings of a training of SOLOv2, with AdelaiDet's (BoxInst's among them) and FreeSOLO's values as defaults: what
// `usol train` offers of solov2::Config.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "usol/models/backbone.h"
#include "usol/models/choice.h"
#include "usol/models/detector.h"

namespace usol {

struct Solov2Settings : DetectorSettings {
  Choice<BackboneKind> backbone{"resnet"};
  std::int64_t channels = 256, instance_channels = 512, instance_convolutions = 4;
  std::int64_t mask_channels = 128, kernel_channels = 256;
  std::string loss = "supervised";  // or "freesolo", "boxinst"
  double dice_weight = 3;           // supervised
  double pairwise_weight = 1;       // FreeSOLO's and BoxInst's
  std::int64_t bottom_px = 10;
  std::int64_t boxinst_warmup = 10000;                   // of the pairwise loss, BoxInst's
  std::int64_t pairwise_warmup = 1000, embedding = 128;  // FreeSOLO's, from here on
  std::optional<double> embedding_weight;                // none: by the preset
  double embedding_weight_of(Preset preset) const;

  Solov2Settings();
  void declare(Settings& settings) override;
  MakeDetector make(const DetectorPlan& plan) const override;
  bool learns_masks() const override { return loss != "boxinst"; }
  bool finds_masks() const override { return true; }
  std::int64_t learned_embedding(Preset preset) const override;
  std::unique_ptr<DetectorSettings> clone() const override { return std::make_unique<Solov2Settings>(*this); }
};

}  // namespace usol
