#pragma once
// Test-time augmentation: a detector looks at one picture in several sizes, and mirrored, and what it finds is made
// one. Place: between the detector and its users, such as pipeline/detect.h. Source: Detectron2's
// GeneralizedRCNNWithTTA.

#include <vector>

#include "usol/models/detector.h"

namespace usol::detection {

/// The objects of one picture, in pixels of a picture of `size`. `views`: that picture u8 [H, W, 3] in each of its
/// sizes; with `mirrored` the network sees each one's mirror image as well. Every view finds boxes under `options`; of
/// all of them suppression chooses again; a mask is the mean of all views' masks over its box. The network takes three
/// views at a time, as the reference does (a frame is as large as the largest of them), and all views' maps are kept
/// until the masks are made: about 85 bytes in f32 for each pixel of the views. No gradient. Throws Error as
/// check_augmentable().
Detections detect_augmented(const Detector& model, const std::vector<Tensor>& views, bool mirrored, const Size& size,
                            const DetectOptions& options);

/// Throws Error(kUsage) for a detector that makes no masks for given boxes (Info::whole_masks).
void check_augmentable(const Detector& model);

}  // namespace usol::detection
