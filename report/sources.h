#pragma once
// What `usol report` is given, sorted out: annotation files, run folders, trainings, metrics, sweeps.
// Place: before report/report.h, which makes a page of it.

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "usol/io/coco.h"
#include "usol/report/groups.h"

namespace usol::report {

/// Objects in pictures: pseudo-masks, predictions, one method's answers.
struct ReportRun {
  std::string name;
  io::AnnotationSet set;
  nlohmann::ordered_json info;             // how it was made; null if the file does not say
  std::filesystem::path stages;            // folder of the arrays that MaskCut dumped, or empty
  std::vector<GroupedObject> groups = {};  // of a file of groups
};

/// metrics.json of a training: by key ("total_loss", "lr", ...) the values at their iterations.
struct TrainingLog {
  std::string name;
  std::map<std::string, std::vector<std::pair<double, double>>> values;
};

/// A file of `usol eval`, or sweep.json of `usol sweep`.
struct ReportDocument {
  std::string name;
  nlohmann::ordered_json json;
};

/// Seconds by stage, of a whole run.
struct StageTimes {
  std::string name;
  std::int64_t images = 0;
  std::vector<std::pair<std::string, double>> seconds;
};

struct ReportSources {
  std::vector<ReportRun> runs;
  std::vector<TrainingLog> trainings;
  std::vector<ReportDocument> metrics, sweeps;
  std::vector<StageTimes> times;
};

/// Reads each argument, "PATH" or "NAME=PATH". A file is told by its content: COCO JSON or a list of results (a run),
/// metrics.json of a training, a metrics file of `usol eval`, sweep.json. A folder counts for what lies in it:
/// masks.json, predictions.json or coco_instances_results.json (with stages/ beside it), metrics.json, sweep.json and
/// times.json; if it has none of these, the folders in it count so. A folder of `usol self-train` (manifest.json)
/// counts for its trainings and metrics, and for the masks of each round or, if there is a truth to compare with
/// (`with_truth`), the predictions that were evaluated.
/// Names are made from the paths and are different. Throws Error(kUsage) naming the argument if it does not exist or
/// holds nothing of these, Error(kFormat) for malformed files.
/// `image_root` is the folder of the pictures, for sizes that annotations lack; it may be empty.
ReportSources read_report_sources(const std::vector<std::string>& arguments, bool with_truth = false,
                                  const std::filesystem::path& image_root = {});

}  // namespace usol::report
