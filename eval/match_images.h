#pragma once
// Which image of the truth a prediction belongs to, when two files number their images differently.
// Place: before any metric that compares two annotation files, and before a detector's finds join the masks it learned.

#include <string>

#include "usol/io/coco.h"

namespace usol::eval {

/// Gives the predictions the image ids of the truth, by file name: equal names, or else equal last parts of the path
/// where these are unique in both files. Throws Error(kUsage) if the predictions are a list of results (which names no
/// files) or a name occurs twice, and Error(kFormat) naming the image if one with predictions is not in the truth.
void match_by_file_name(const io::AnnotationSet& truth, io::AnnotationSet& predictions);

/// Throws Error(kUsage) naming both if an id stands for two different files: then comparing by id would compare
/// different pictures. Files differ if the last parts of their paths do, and if the whole names do and the prediction's
/// is that of another image of the truth. Does nothing where a file gives no names.
void check_ids_mean_the_same(const io::AnnotationSet& truth, const io::AnnotationSet& predictions);

/// How images of the two files belong together, where somebody says it.
struct Matching {
  std::string by = "id";         // "id" or "file_name"
  bool ids_are_certain = false;  // "id" even where an id stands for pictures of two names
};

/// match_by_file_name(), or check_ids_mean_the_same() unless the ids are certain; throws as they do.
void match_images(const io::AnnotationSet& truth, io::AnnotationSet& predictions, const Matching& matching);

/// By id where the ids of all of the predictions' images stand for the same files in the truth (and for a list of
/// results), else by file name. Throws Error as match_by_file_name().
void match_images(const io::AnnotationSet& truth, io::AnnotationSet& predictions);

}  // namespace usol::eval
