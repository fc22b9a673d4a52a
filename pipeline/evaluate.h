#pragma once
// How good predictions, pseudo-masks or saliency maps are: files in, metrics out. The metrics themselves are in eval/.

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "usol/eval/clusters.h"
#include "usol/eval/coco_eval.h"
#include "usol/eval/corloc.h"
#include "usol/eval/saliency.h"
#include "usol/eval/voc_eval.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"

namespace usol {

/// What is compared, and how. Without `corloc` and `saliency`: average precision and recall, by COCO's protocol.
struct EvaluateConfig {
  std::string truth;                  // COCO JSON; with `saliency` also a folder of masks (nonzero is foreground)
  std::string predictions;            // results, or COCO JSON with scores; with `saliency` also a folder of maps
  std::string image_root = {};        // the pictures, for images whose height and width the truth lacks; may be empty
  bool exif = true;                   // those heights and widths: of pictures turned as cameras note it in their files
  std::string iou = "box,mask";       // what overlaps are of: "box", "mask" or both (boxes alone if neither has masks)
  bool box_only = false;              // the same as iou = "box"
  bool class_agnostic = false;        // one class for everything
  bool pseudo_masks = false;          // class-agnostic, and masks without a score count with 1
  std::string max_dets = "1,10,100";  // detections per image that count, ascending; AP uses the last
  std::string match = "id";           // how images of the two files belong together: "id" or "file_name"
  bool ids_are_certain = false;       // "id" even where an id stands for pictures of two names
  /// VOC's average precision of boxes instead: of the truth's "categories", or of "groups" that are assigned to them
  /// first; "off": COCO's.
  std::string voc = "off";
  bool assign = false;  // categories of the predictions are groups: assign the truth's to them first; no score counts 1
  bool corloc = false;  // CorLoc instead: the best box of each image
  bool saliency = false;         // metrics of foreground maps instead
  PictureOptions pictures = {};  // how maps and masks that are pictures are read
  bool curves = false;           // keep CocoEvalResult::precision, recall and scores

  /// Declares all but `ids_are_certain` and `curves`.
  void declare(Settings& settings);
};

/// What evaluate() has found: one of the four.
struct Evaluation {
  std::vector<std::pair<eval::IouType, eval::CocoEvalResult>> coco = {};
  std::optional<eval::VocEvalResult> voc = {};
  std::optional<eval::GroupAssignment> assignment = {};  // before `coco`, where groups were assigned
  std::optional<eval::CorLocResult> corloc = {};
  std::optional<eval::SaliencyMean> saliency = {};
  /// Pipes, sockets and devices among the maps, which were left out.
  std::vector<std::filesystem::path> left_out = {};

  /// The metrics as `usol eval` writes them, fractions, without "info": {"box": {"AP": ...}, "mask", "per_category",
  /// "left_out"} and with groups "assignment": {"purity", "NMI", "accuracy", "objects", "groups": [...]},
  /// {"voc": {"AP": ..., "per_category"}}, {"corloc": {...}} with "constant_box" and "whole_frame" where the truth has
  /// sizes, or
  /// {"saliency": {...}}.
  nlohmann::ordered_json json() const;
};

/// Compares, and says the metrics to run.log, in percent. It is one process's work and not shared with run.ranks.
/// Throws Error(kUsage) for files that are missing and settings that contradict each other, Error(kFormat) naming file
/// and record, and what read_coco(), match_by_file_name(), evaluate_coco(), evaluate_corloc() and
/// score_saliency_files() throw.
Evaluation evaluate(const Run& run, const EvaluateConfig& config);

/// Where the results go.
struct EvaluateOutputs {
  std::string metrics;  // JSON: Evaluation::json() and how it was made
  /// Of average precision, safetensors: "box.precision" [T, R, K, A, M], "box.recall" [T, K, A, M], "box.scores"
  /// [T, R, K, A, M] (CocoEvalResult) and those of "mask"; empty: none.
  std::string curves = {};

  void declare(Settings& settings);
};

/// evaluate() with its results in files. Returns kSuccess, or kSomeInputsFailed if some maps were left out. Outputs
/// that exist are an error (kExists) unless run.existing is another than kRefuse; they are always made anew. With
/// run.dry_run it says what would be done. Throws as evaluate(), and Error(kUsage) for outputs that are inputs.
int write_evaluation(const Run& run, EvaluateConfig config, const EvaluateOutputs& outputs);

}  // namespace usol
