#pragma once
// The second half of reading a COCO data set: its records are compared with each other, and completed.

#include <functional>
#include <string>

#include "usol/io/coco.h"

namespace usol::io {

/// What read_coco() does with a data set once all records are there: unknown images and categories, sizes, boxes, areas
/// and ids, in this order, each change counted in `set.report`. Throws Error(kFormat) as read_coco() says.
void repair_coco(AnnotationSet& set, const CocoReadOptions& options);

/// Throws Error(kFormat) naming `file` (empty: `place()` names it) and `place()` if the box is wholly outside of its
/// image, and counts one that reaches more than a pixel over its edge. Does nothing if the image's size is not known.
void check_box(const Box& box, const CocoImage& image, const std::string& file,
               const std::function<std::string()>& place, ReadingReport& report);

}  // namespace usol::io
