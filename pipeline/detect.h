#pragma once
// A detector on one picture: resized for the network, objects back in the picture's pixels. What `usol predict` writes
// and what a training is evaluated by.

#include <cstdint>
#include <vector>

#include "usol/io/coco.h"
#include "usol/io/rle.h"
#include "usol/models/detector.h"

namespace usol {

/// An object found, in pixels of the picture.
struct FoundObject {
  io::Rle mask;   // without counts if the detector finds boxes alone
  io::Box box{};  // the detector's own; the mask's where masks are whole (detection::MaskFrame)
  double score = 0;
  std::int64_t label = 0;  // from 0

  /// Everything but ids and the mask.
  io::CocoAnnotation annotation(std::int64_t image_id, std::int64_t category_id) const;
};

/// The picture (u8 [H, W, 3]) as it enters the network. Source: Detectron2, ResizeShortestEdge.
Tensor resized_for_network(const Tensor& picture, std::int64_t short_px, std::int64_t long_px);
/// Test-time augmentation: the sizes in which a detector sees a picture. Source: Detectron2, TEST.AUG.
struct TestViews {
  std::vector<std::int64_t> short_sides{400, 500, 600, 700, 800, 900, 1000, 1100, 1200};
  std::int64_t long_px = 4000;
  bool mirrored = true;  // and each size's mirror image

  /// The picture (u8 [H, W, 3]) in each size; a size that comes again is left out.
  std::vector<Tensor> of(const Tensor& picture) const;
};
/// What the network found in `resized` as objects of `picture`, by descending score. Whole masks that have no pixel
/// left are dropped.
std::vector<FoundObject> to_picture(const detection::Detections& detections, const Tensor& resized,
                                    const Tensor& picture);
/// The objects in a picture; `resized` is resized_for_network() of it.
std::vector<FoundObject> find_objects(const Detector& model, const Tensor& picture, const Tensor& resized,
                                      const detection::DetectOptions& options);
/// Drops objects whose box is as wide as `share` of the picture's width or wider; of a share of 0 none. They fill the
/// picture rather than stand in it. Source: FreeSOLO (Wang et al. 2022), tools/gen_pseudo_labels.py, as it means it
/// (docs/deviations.md); 0.95 there.
void drop_wide(std::vector<FoundObject>& found, double share, std::int64_t width);
/// The picture with them, u8 [H, W, 3].
Tensor draw_found(const Tensor& picture, const std::vector<FoundObject>& found);

}  // namespace usol
