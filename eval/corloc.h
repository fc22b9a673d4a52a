#pragma once
// CorLoc: how often the one box that a method gives for an image is right.
// Place: the metric of single-object discovery (LOST, TokenCut).
// Source: Deselaers et al., IJCV 2012; LOST (Simeoni et al., BMVC 2021) for which truths count.

#include <cstdint>
#include <optional>

#include "usol/io/coco.h"
#include "usol/io/rle.h"

namespace usol::eval {

/// One box for all images, in fractions of their sides.
struct ConstantBox {
  io::Box box{};           // left, top, width, height
  std::int64_t right = 0;  // of CorLocResult::images, those of which it has IoU >= 0.5 with some truth
};

struct CorLocResult {
  double corloc = -1;                   // right / images; -1 without images
  std::int64_t images = 0;              // images with a truth
  std::int64_t right = 0;               // of these, whose box has IoU >= 0.5 with some truth
  std::int64_t without_prediction = 0;  // of these, without any box: they count as wrong
  std::int64_t without_truth = 0;       // images left out, since they have no truth or nothing but crowds
  std::int64_t without_size = 0;        // of `images`, whose height and width the truth lacks

  // What a method has to beat that looks at the images. Not set where without_size > 0, or images is 0.
  std::optional<ConstantBox> constant_box = {};  // the best with edges at twentieths; it is fitted to this truth
  std::optional<ConstantBox> whole_frame = {};
};

/// The share of `images` that a constant box gets right; -1 without images.
double corloc_of(const ConstantBox& constant, const CorLocResult& result);

/// The box of an image is its prediction of highest score, the first of equals; without scores the first. Categories
/// are not compared, crowd truths are left out. A prediction without box takes that of its mask. Of constant boxes that
/// are equally good, it is the one with the smallest left edge, then right, top and bottom edge. Throws Error(kFormat)
/// naming file, record and field: a prediction for an image that the truth lacks, or without box and mask; a truth
/// without box.
CorLocResult evaluate_corloc(const io::AnnotationSet& truth, const io::AnnotationSet& predictions);

}  // namespace usol::eval
