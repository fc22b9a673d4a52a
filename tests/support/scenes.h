#pragma once
// Synthetic scenes with exact truth: textured objects of several shapes and sizes on textured backgrounds, some in
// front of others. What the whole method is tried on where there are neither photographs nor time
// (scripts/mini-reproduction).

#include <cstdint>
#include <filesystem>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::test {

/// What tells objects from their backgrounds.
enum class SceneKind {
  kColours,   // hue and lightness first, and one of five patterns
  kTextures,  // the pattern alone: grey waves of one length, of equal mean, deviation and slopes in both directions
  kKinds,  // as kColours; and each object is of one of four kinds, which has its own outline, pattern and range of hues
};

struct SceneOptions {
  SceneKind kind = SceneKind::kColours;
  std::uint64_t seed = 0;
  std::int64_t short_px = 96, long_px = 128;  // half of the scenes are wide, half are high
  std::int64_t most_objects = 5;              // each scene has 1 to this many
  double least_px = 14, most_px = 64;         // diameters; logarithms are uniform
};

struct Scene {
  Tensor image;                          // u8 [H, W, 3]
  std::vector<Tensor> masks;             // u8 [H, W]: the visible part of each object, from the back to the front
  std::vector<std::int64_t> categories;  // of each object, from 1; without kinds all are 1
};

/// Scene number `index` of the seed; the same whatever else is made. Of every object at least 40 % and 40 pixels are
/// visible.
Scene make_scene(const SceneOptions& options, std::int64_t index);

/// Writes folder/00000.png ... and folder/truth.json (COCO, ids from 1 in order; one category "fg", or those of the
/// kinds).
void write_scenes(const std::filesystem::path& folder, const SceneOptions& options, std::int64_t count);

}  // namespace usol::test
