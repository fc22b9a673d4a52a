#pragma once
// The report page (report/report.h) as a job: what it reads and writes is checked first, progress and failures go to
// the log.

#include <cstdint>
#include <string>
#include <vector>

#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"
#include "usol/report/report.h"

namespace usol {

struct ReportConfig {
  std::vector<std::string> runs;  // files and folders, PATH or NAME=PATH, as read_report_sources() takes them
  std::string images = {};        // folder of the pictures; empty: no gallery
  std::string annotations = {};   // the truth, COCO JSON: shown beside the runs, which are scored; empty: none
  std::string dump = {};          // folder of the first run's stages (MaskcutOutputs::dump); empty: none
  PictureOptions pictures = {};   // how pictures are read
  std::string title = "usol report";
  bool class_aware = false;  // objects must be of the truth's category to count
  std::int64_t most = 1000;  // pictures in the gallery at most, evenly spread; 0: all
  double page_mb = 50;       // size of the page at most: pictures get smaller as they get more

  /// Declares all of it.
  void declare(Settings& settings);
};

/// Makes one page of all runs, the file `out`. Returns kSuccess, or kSomeInputsFailed if pictures could not be shown.
/// An `out` that exists is an error (kExists) unless run.existing is another than kRefuse. With run.dry_run the sources
/// are read, and nothing is written. Throws Error(kUsage) for files and folders that are missing and an output that is
/// an input, what read_report_sources() and write_report() throw, and Error(kInterrupted) when asked to stop.
int make_report(const Run& run, const ReportConfig& config, const std::string& out);

/// write_report() of what was gathered before, with a line at the page's end that names the version; `out` is replaced.
/// Returns as make_report().
int write_report_page(const Run& run, const std::string& out, report::ReportSources sources,
                      report::ReportOptions options);

}  // namespace usol
