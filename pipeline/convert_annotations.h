#pragma once
// Truths from one format to another: COCO JSON, LVIS JSON or Pascal VOC's XML in; COCO JSON, mask pictures, VOC or YOLO
// out.

#include <string>
#include <vector>

#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"

namespace usol {

struct AnnotationConversion {
  std::vector<std::string> inputs;  // one COCO or LVIS file, or VOC's XML files and folders of them
  std::string to = "coco";          // "coco"; "png": mask pictures, 0 and 255; "voc"; "yolo"
  bool class_agnostic = false;      // one category, "fg", for everything
  std::string subset = {};          // a list of the images to keep (io/coco_subset.h); empty: all
  std::string difficult = "crowd";  // objects that VOC files mark so: "crowd", which metrics count neither as right nor
                                    // as wrong; "keep": ordinary ones; "drop": left out
  std::string image_root = {};  // the pictures, for images whose height and width the truth lacks. Empty: of VOC files
                                // their own folder, or JPEGImages beside it
  bool exif = true;             // those heights and widths: of pictures turned as cameras note it in their files

  /// Declares all of it.
  void declare(Settings& settings);
};

/// Reads the truth, keeps what is asked for, and writes it to `out`: a COCO file, or a folder with a file for each
/// image, under the image's name (png: the union of its masks without crowds; yolo also "data.yaml"). Returns kSuccess,
/// or kSomeInputsFailed if pipes, sockets or devices with names of XML files were left out. Files that exist are an
/// error (kExists) unless run.existing is another than kRefuse, and are always made anew. With run.dry_run it says what
/// would be done. Throws Error(kUsage) for inputs that are missing or do not go together, for two images of one output
/// file and for outputs that are inputs; Error(kFormat) naming file and record for what the format cannot say: an image
/// without name or size, an annotation without box or mask; what the readers throw; and Error(kInterrupted) when asked
/// to stop.
int convert_annotations(const Run& run, const AnnotationConversion& conversion, const std::string& out);

}  // namespace usol
