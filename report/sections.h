#pragma once
// The tables and charts of report/report.h, as HTML sections. Each is empty where there is nothing to show.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "usol/eval/coco_eval.h"
#include "usol/report/sources.h"

namespace usol::report {

/// A run against the truth.
struct RunScore {
  std::optional<eval::CocoEvalResult> box, mask;  // with curves
};

/// What the gallery knows about a run.
struct RunFigures {
  std::int64_t pictures = 0, objects = 0, without = 0;    // pictures without an object
  std::vector<double> scores, area_shares, objects_each;  // of objects, of objects, of pictures
};

/// <section id="..."> with a heading, if `content` is not empty.
std::string section(const std::string& id, const std::string& heading, const std::string& content);

/// All runs in one table: counts, the settings in which they differ, metrics (new ones, else those of `metrics` files
/// of the same name; files of other names get rows of their own).
std::string compare_table(const std::vector<ReportRun>& runs, const std::vector<RunFigures>& figures,
                          const std::vector<RunScore>& scores, const std::vector<ReportDocument>& metrics);
std::string distribution_charts(const std::vector<ReportRun>& runs, const std::vector<RunFigures>& figures);
std::string precision_recall_charts(const std::vector<ReportRun>& runs, const std::vector<RunScore>& scores);
std::string training_charts(const std::vector<TrainingLog>& logs);
/// A table of a sweep's points, best values marked, and metrics over each numeric parameter.
std::string sweep_tables(const std::vector<ReportDocument>& sweeps);
/// Seconds by stage of runs, and of a training's step.
std::string time_tables(const std::vector<StageTimes>& times, const std::vector<TrainingLog>& logs);
/// How each run was made, from its info.
std::string provenance_tables(const std::vector<ReportRun>& runs);

}  // namespace usol::report
