#pragma once
// The sizes and constants of SOLOv2, with the published values as defaults. Source: Wang et al. 2020, "SOLOv2: Dynamic
// and Fast Instance Segmentation", and AdelaiDet's MODEL.SOLOV2; for FreeSOLO: Wang et al. 2022, "FreeSOLO: Learning to
// Segment Objects without Annotations".

#include <array>
#include <cstddef>
#include <cstdint>

#include "usol/models/backbone.h"
#include "usol/models/fpn.h"
#include "usol/models/image_batch.h"

namespace usol::solov2 {

constexpr std::size_t kLevels = 5;  // p2 ... p6

/// Cells of a level: the sizes of the objects that it learns, and how the picture is divided.
struct Level {
  std::int64_t grid;         // cells along each side
  double least_px, most_px;  // root of a box's area; both ends belong to it, and levels overlap
  std::int64_t least_mask;   // in inference a mask needs more cells of the mask features than this
};

constexpr std::array<Level, kLevels> kPublishedLevels{
    {{40, 1, 96, 8}, {36, 48, 192, 8}, {24, 96, 384, 16}, {16, 192, 768, 32}, {12, 384, 2048, 32}}};

/// What is found of what the network says.
struct FindingOptions {
  double category_score = 0.1;     // cells that score more make a mask
  double mask = 0.5;               // a pixel belongs to the object where it is more probable
  std::int64_t most_before = 500;  // masks that go into matrix NMS
  double sigma = 2;                // of matrix NMS
  double least_score = 0.05;       // after it
};

enum class LossKind { kSupervised, kFreeSolo, kBoxInst };

struct LossOptions {
  LossKind kind = LossKind::kSupervised;
  double dice_weight = 3, category_weight = 1;
  double alpha = 0.25, gamma = 2;  // of the focal loss
  // FreeSOLO's, and but for means and embeddings BoxInst's.
  double projection_max_weight = 1, projection_mean_weight = 0.1;
  double pairwise_weight = 1, alike = 0.3;  // neighbours of at least this colour similarity belong together
  std::int64_t pairwise_warmup = 1000;      // steps over which the pairwise loss grows; BoxInst's code: 10000
  std::int64_t bottom_px = 10;              // rows of the picture's file, at the bottom, in which pairs do not count
  double embedding_weight = 4;              // 0: as released, where that loss is computed and left out
};

struct Config {
  /// Maps p2 ... p6 with `channels`.
  MakeBackbone backbone = resnet_fpn({.norm = nn::NormKind::kFrozenBn}, {.norm = nn::NormKind::kNone});
  std::int64_t channels = 256;
  std::int64_t classes = 80;
  std::int64_t spare_outputs =
      0;  // outputs of the category branch beyond the classes, which learn that nothing is there
  std::int64_t instance_channels = 512, instance_convolutions = 4;
  std::int64_t mask_channels = 128, kernel_channels = 256;
  std::int64_t embedding = 0;  // numbers that stand for an object's looks; 0: none are predicted. FreeSOLO: 128
  std::int64_t norm_groups = 32;
  std::array<Level, kLevels> levels = kPublishedLevels;
  double sigma = 0.2;  // share of a box around a mask's centre of mass in which cells learn the mask
  PixelScale pixels;
  bool stores_pixels = true;  // the checkpoint says how colours are scaled, so that it is not taken for AdelaiDet's
  FindingOptions finding;
  LossOptions losses;

  std::int64_t outputs() const { return classes + spare_outputs; }
};

}  // namespace usol::solov2
