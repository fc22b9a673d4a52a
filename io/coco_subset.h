#pragma once
// Parts of an annotation set: some of its images, one category for all, the records of each image.

#include <filesystem>
#include <vector>

#include "usol/io/coco.h"

namespace usol::io {

/// Keeps the images that `list` names, and their annotations. A line of the list is an id, a file name, or the last
/// part of one, with or without extension; '#' begins a comment. Throws Error(kUsage) for an empty list, Error(kFormat)
/// naming the first five entries that stand for no image, and what TextLines throws.
void keep_listed_images(AnnotationSet& set, const std::filesystem::path& list);

/// One category, number 1 and "fg", for everything.
void make_class_agnostic(AnnotationSet& set);

/// The annotations of each image, in the order of set.images; as long as nothing is added to the set.
std::vector<std::vector<const CocoAnnotation*>> annotations_by_image(const AnnotationSet& set);

}  // namespace usol::io
