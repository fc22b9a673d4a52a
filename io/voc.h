#pragma once
// Pascal VOC's annotation files: one XML file an image, boxes only.
// Place: `usol gt`, which turns truths of other formats into COCO JSON and back.
// Source: The PASCAL Visual Object Classes Challenge, development kit (pixel numbers count from 1, both ends included).

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "usol/io/coco.h"

namespace usol::io {

/// Reads annotation files into a data set: images are numbered 1, 2, ... in the order of `files`, objects likewise.
/// Categories are VOC's twenty in their usual order if no other name occurs, else the names found, sorted; from 1.
/// A box xmin ymin xmax ymax becomes [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1]; parts of objects are left
/// out. Objects marked "difficult" are crowds, as voc_xml() writes crowds: VOC's metric counts them neither as right
/// nor as wrong, and so does COCO's. Corners below 1 are moved there, and counted in the set's report, as are sizes of
/// 0 or none, which are taken from the picture: under `options.image_root`, else beside the file or in ../JPEGImages.
/// Throws Error(kIo), and Error(kFormat) naming file and object or byte, also for boxes wholly outside of their image.
AnnotationSet read_voc(const std::vector<std::filesystem::path>& files, const CocoReadOptions& options = {});

/// The annotation file of one image. Boxes are rounded to whole pixels inside the image; crowds are "difficult".
/// `annotations` are those of the image. Throws Error(kFormat) naming an annotation without box or known category.
std::string voc_xml(const AnnotationSet& set, const CocoImage& image,
                    std::span<const CocoAnnotation* const> annotations);

}  // namespace usol::io
