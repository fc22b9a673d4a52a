#pragma once
// Foreground maps and masks in files, to be scored by eval/saliency.h.

#include <filesystem>
#include <functional>

#include "usol/eval/saliency.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"

namespace usol::eval {

/// Scores the maps of `predictions` against the masks of `truth`. Each is a folder of pictures (and .npy maps of 0..1),
/// which belong together by their path in the folder without extension, or a COCO file, whose image is the union of
/// its masks; two COCO files belong together by id, a folder and a COCO file by file name.
/// Throws Error(kFormat) naming the file if a truth has no map or another size, or a file cannot be read.
/// `reading` is for COCO files; `on_read` is called with each once it is read; `decode` is for pictures.
SaliencyMean score_saliency_files(const std::filesystem::path& truth, const std::filesystem::path& predictions,
                                  const io::CocoReadOptions& reading = {},
                                  const std::function<void(const io::AnnotationSet&)>& on_read = {},
                                  const io::DecodeOptions& decode = {});

}  // namespace usol::eval
