#pragma once
// The views of one picture that DINO compares: two large crops and several small ones, each with other colours and
// edges. Source: Caron et al. 2020 (SwAV, multi-crop) and 2021 (DINO), whose public code these are; torchvision's
// RandomResizedCrop and ColorJitter. Pixels are Pillow's (io/adjust.h, io/resize.h), random numbers are our own.

#include <array>
#include <cstdint>
#include <vector>

#include "usol/tensor/generator.h"
#include "usol/tensor/size.h"
#include "usol/tensor/tensor.h"
#include "usol/train/colour_jitter.h"

namespace usol::train {

/// The defaults are DINO's.
struct MultiCropOptions {
  std::int64_t global_px = 224, local_px = 96, locals = 8;
  std::vector<double> global_scale{0.4, 1}, local_scale{0.05, 0.4};  // least and most of the picture's area
  double flip = 0.5, jitter = 0.8, grey = 0.2, solarize = 0.2;       // probabilities; solarize: of the second global
  std::array<double, 3> blur{1, 0.1, 0.5};                           // of the first global, the second, the locals

  /// Throws Error(kUsage) on numbers that make no crops.
  void check_valid() const;
};

/// Everything about one crop.
struct CropParameters {
  std::int64_t top = 0, left = 0, height = 0, width = 0;  // of the picture, in pixels
  bool flip = false;
  bool jittered = false;
  ColourJitter jitter;
  bool grey = false;
  double blur = 0;  // radius in pixels of the crop; 0: none
  bool solarize = false;
};

/// The box of RandomResizedCrop: a share of the area in `scale`, height : width between 3 : 4 and 4 : 3, and after ten
/// attempts that do not fit the largest centred box of such a shape.
CropParameters draw_box(Size picture, const std::vector<double>& scale, Generator& generator);
/// The crops of a picture: the globals first, then the locals.
std::vector<CropParameters> draw_crops(Size picture, const MultiCropOptions& options, Generator& generator);
/// u8 [H, W, 3] -> the crop, u8 [side, side, 3].
Tensor make_crop(const Tensor& image, const CropParameters& crop, std::int64_t side);

/// What a picture becomes, u8.
struct Crops {
  Tensor globals;  // [2, global_px, global_px, 3]
  Tensor locals;   // [locals, local_px, local_px, 3]; undefined without any
};
Crops multi_crop(const Tensor& image, const MultiCropOptions& options, Generator& generator);

/// Patches of a grid [h, w] that are hidden from the student, u8: with probability 1/2 none, else a share of 0.1 to 0.5
/// in blocks. Source: Zhou et al. 2022 (iBOT), section 3 and appendix; Bao et al. 2022 (BEiT), algorithm 1.
Tensor draw_block_mask(std::int64_t h, std::int64_t w, Generator& generator);

}  // namespace usol::train
