#pragma once
// Masks as a picture of foreground: what saliency is scored against.

#include <span>

#include "usol/io/coco.h"
#include "usol/tensor/tensor.h"

namespace usol::io {

/// The union of the masks of these annotations of an image whose size is known: u8 [H, W], 255 where there is one, 0
/// elsewhere. Throws Error(kFormat) as AnnotationSet::rle().
Tensor mask_picture(const AnnotationSet& set, const CocoImage& image,
                    std::span<const CocoAnnotation* const> annotations);

}  // namespace usol::io
