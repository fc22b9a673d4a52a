#pragma once
// Which image of the truth a prediction belongs to, when two files number their images differently.
// Place: before any metric that compares two annotation files.

#include "usol/io/coco.h"

namespace usol::eval {

/// Gives the predictions the image ids of the truth, by file name: equal names, or else equal last parts of the path
/// where these are unique in both files. Throws Error(kUsage) if the predictions are a list of results (which names no
/// files) or a name occurs twice, and Error(kFormat) naming the image if one with predictions is not in the truth.
void match_by_file_name(const io::AnnotationSet& truth, io::AnnotationSet& predictions);

/// Throws Error(kUsage) naming both if an id stands for two different file names (by the last part of the path): then
/// comparing by id would compare different pictures. Does nothing where a file gives no names.
void check_ids_mean_the_same(const io::AnnotationSet& truth, const io::AnnotationSet& predictions);

/// By id where the ids of all of the predictions' images stand for the same files in the truth (and for a list of
/// results), else by file name. Throws Error as match_by_file_name().
void match_images(const io::AnnotationSet& truth, io::AnnotationSet& predictions);

}  // namespace usol::eval
