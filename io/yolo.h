#pragma once
// YOLO's segmentation labels: one text file an image, one line an object.
// Place: ground truth, converted by `usol gt`.
// Source: the data set format of the Ultralytics tools: class, then x y of each point, in shares of width and height.

#include <span>
#include <string>

#include "usol/io/coco.h"

namespace usol::io {

/// The label file of one image: a line "class x1 y1 x2 y2 ..." per annotation with as many digits as give back the
/// pixel. Classes count from 0 in the order of set.categories. A line has one polygon, so the polygons of an annotation
/// (its own, or the outlines of its mask; the box's corners where it has neither) are joined by bridges of no width
/// (io/contour.h): parts and holes survive. Points beyond the image are moved to its border. Crowds and empty masks are
/// left out. `annotations` are those of the image. Throws Error(kFormat) naming an annotation without mask and box, or
/// with an unknown category.
std::string yolo_labels(const AnnotationSet& set, const CocoImage& image,
                        std::span<const CocoAnnotation* const> annotations);

/// "names:" and the categories in the order of their classes, as data.yaml has them.
std::string yolo_names(const AnnotationSet& set);

}  // namespace usol::io
