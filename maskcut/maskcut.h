#pragma once
// MaskCut: patch features of one image -> pseudo-masks of its objects, by repeated normalized cuts.
// In the pipeline: after models/vit.h (or maskcut/colour_features.h), before the COCO annotations.
// Source: Wang et al. 2023, "Cut and Learn for Unsupervised Object Detection and Instance Segmentation", section 3.2.

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "maskcut/frame.h"
#include "maskcut/ncut.h"
#include "maskcut/partition.h"
#include "tensor/tensor.h"

namespace usol {

/// Receives every intermediate array of maskcut() under the name it has in the equations. See maskcut().
using DumpSink = std::function<void(std::string_view name, const Tensor& value)>;

struct MaskCutOptions {
  Preset preset = Preset::kPaper;
  /// Two patches are connected when the cosine of their features is at least (release: above) tau.
  double tau = 0.15;
  /// Number of stages, so the largest number of masks (the paper's N).
  int masks = 3;
  /// Side, in pixels, of the square frame (S x S) that cuts are upsampled to and the CRF runs on.
  std::int64_t size = 480;
  /// Side of a patch in pixels. Used by working_size() and for native_aspect; maskcut() reads the grid off the
  /// features.
  std::int64_t patch = 8;
  /// Frame with the picture's own aspect ratio and about size * size pixels, instead of a square.
  bool native_aspect = false;
  /// Refine every mask with the dense CRF, and drop it when that changes it too much (IoU < 0.5).
  bool crf = true;
  Eigensolver eigensolver = Eigensolver::kLanczos;
  /// Stop rule: stages end before the first whose second eigenvalue (0 = two separate graphs, about 1 = no structure)
  /// exceeds this. With it `masks` can be generous. Not set: always `masks` stages.
  std::optional<double> stop_eigenvalue;
  /// "No object" rejection: an object whose Ncut value (0 to 2) exceeds this is no object. Not set: all are kept.
  std::optional<double> max_ncut;
  /// Not set: nothing is dumped.
  DumpSink dump;
};

/// What became of a stage.
enum class StageOutcome {
  kAccepted,     // its object went on to the CRF
  kOverlap,      // rejected: IoU with the previous stage's object > 0.5
  kSmall,        // rejected: at most 1 % of the patches
  kNoObject,     // no cut is defined (all patches alike, fewer than two), it has no object, or it exceeds max_ncut
  kCovered,      // nothing is left after subtracting the earlier masks
  kCrfRejected,  // the CRF changed it too much
  kEmpty,        // no pixel is left at the image's size
};

/// "accepted", "overlap", "small", "no object", "covered", "crf rejected", "empty".
std::string_view name_of(StageOutcome outcome);

/// One normalized cut: kept for every stage that ran, accepted or not.
struct CutStage {
  StageOutcome outcome = StageOutcome::kNoObject;
  Tensor eigenvector;         // f64 [h, w], generalised, canonical sign; undefined when no cut is defined
  Tensor object;              // u8 [h, w], the connected component before rejection; undefined when no cut is defined
  double eigenvalue = 0;      // second smallest of (D - W) x = lambda D x
  double ncut = 0;            // Ncut(object, rest), in [0, 2]: smaller is better separated
  std::int64_t seed = -1;     // row-major patch index the component was grown from
  bool complemented = false;  // the foreground is the side with the smaller values
  bool degenerate = false;    // the second eigenvalue is not simple: the vector is a documented choice among many
};

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
};

/// The frame for a picture under these options: features are to be computed from the picture at this size (LANCZOS).
FrameSize working_size(std::int64_t image_height, std::int64_t image_width, const MaskCutOptions& options);

/// Pseudo-masks of one image.
/// features: f32 [D, h, w], any device, finite; image: u8 [H, W, 3] RGB at its original size.
/// Dump names, t = 1, 2, ... the stage: "K" f32 [h w, D] normalised features; "W_t" f32 [h w, h w]; "d_t" f64 [h w];
/// "lambda_t" f64 []; "x_t" f64 [h, w]; "P_t" u8 [h, w] foreground of the bipartition; "M_t" u8 [h, w] object;
/// "S_t" u8 [frame] upsampled less earlier masks; "C_t" u8 [frame] after the CRF; "F_t" u8 [frame] holes filled;
/// "R_t" u8 [H, W] result.
/// Throws Error when shapes, dtypes or options are not as said, or a feature is not finite.
MaskCutResult maskcut(const Tensor& features, const Tensor& image, const MaskCutOptions& options);

}  // namespace usol
