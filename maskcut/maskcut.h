#pragma once
// MaskCut: patch features of one image -> pseudo-masks of its objects, by repeated normalized cuts.
// In the pipeline: after models/vit.h (or maskcut/colour_features.h), before the COCO annotations.
// Source: Wang et al. 2023, "Cut and Learn for Unsupervised Object Detection and Instance Segmentation", section 3.2.

#include <cstdint>
#include <vector>

#include "usol/maskcut/cut.h"
#include "usol/maskcut/frame.h"
#include "usol/tensor/tensor.h"

namespace usol::maskcut {

struct PseudoMask {
  Tensor mask;         // u8 [H, W] of 0/1 at the image's size, never empty
  double score = 0;    // (1 - ncut / 2) * crf_iou, in [0, 1]
  double ncut = 0;     // of the patches it grew from, see CutStage
  double crf_iou = 1;  // IoU before and after the CRF; 1 without CRF
  int stage = 0;       // index into MaskCutResult::stages
  bool degenerate = false;
};

struct MaskCutResult {
  std::vector<PseudoMask> masks;  // in stage order
  std::vector<CutStage> stages;   // at most options.masks

  /// Whether no cut is defined, since all patches are connected to all others.
  bool uncut() const { return !stages.empty() && !stages.front().eigenvector.defined(); }
};

/// The frame for a picture under these options: features are to be computed from the picture at this size (LANCZOS).
Size working_size(std::int64_t image_height, std::int64_t image_width, const MaskCutOptions& options);

/// Pseudo-masks of one image.
/// features: f32 [D, h, w], any device, finite; image: u8 [H, W, 3] RGB at its original size.
/// Dump names, t = 1, 2, ... the stage: "K" f32 [h w, D] normalised features; "W_t" f32 [h w, h w]; "d_t" f64 [h w];
/// "lambda_t" f64 []; "x_t" f64 [h, w]; "P_t" u8 [h, w] foreground of the bipartition; "M_t" u8 [h, w] object;
/// "S_t" u8 [frame] upsampled less earlier masks; "C_t" u8 [frame] after the CRF; "F_t" u8 [frame] holes filled;
/// "R_t" u8 [H, W] result.
/// Throws Error when shapes, dtypes or options are not as said, or a feature is not finite.
MaskCutResult maskcut(const Tensor& features, const Tensor& image, const MaskCutOptions& options);

/// The second half of maskcut(): cuts of `image` that were made in its working_size() -> masks. `device` does the CRF.
MaskCutResult refine_cuts(CutResult cut, const Tensor& image, const MaskCutOptions& options, Device device = {});

}  // namespace usol::maskcut
