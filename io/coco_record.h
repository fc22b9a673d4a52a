#pragma once
// Records of a set as text, for writers that add fields of their own to them (pipeline/group_job.cc).

#include <string>

#include "usol/io/coco.h"

namespace usol::io {

/// The record that CocoWriter writes of an annotation of `set`, its segmentation as it is: one line that ends in '}'.
std::string coco_annotation_json(const CocoAnnotation& annotation, const AnnotationSet& set);

}  // namespace usol::io
