#pragma once
// Foreground maps and masks in files, to be scored by eval/saliency.h.

#include <filesystem>
#include <functional>
#include <vector>

#include "usol/eval/match_images.h"
#include "usol/eval/saliency.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"

namespace usol::eval {

struct SaliencyFilesOptions {
  io::CocoReadOptions reading = {};                            // of COCO files
  io::DecodeOptions decode = {};                               // of pictures
  Matching matching = {};                                      // of the images of two COCO files
  std::function<void(const io::AnnotationSet&)> on_read = {};  // hears of each COCO file once it is read
  /// Hears of the pipes, sockets and devices that have names of maps in a folder: they are left out, never opened.
  std::function<void(const std::vector<std::filesystem::path>&)> on_left_out = {};
};

/// Scores the maps of `predictions` against the masks of `truth`. Each is a folder of pictures (and .npy maps of 0..1),
/// which belong together by their path in the folder without extension, or a COCO file, whose image is the union of
/// its masks; two COCO files belong together as `matching` says (file_name: by the whole name), a folder and a COCO
/// file by file name. Throws Error(kUsage) for a folder without maps or with two of one name, and as
/// check_ids_mean_the_same(), Error(kFormat) naming the file if a truth
/// has no map or another size, or a file cannot be read.
SaliencyMean score_saliency_files(const std::filesystem::path& truth, const std::filesystem::path& predictions,
                                  const SaliencyFilesOptions& options = {});

}  // namespace usol::eval
