#pragma once
// Pictures -> a folder with their pseudo-masks, pictures of these and a page to look through: for someone with pictures
// and no labels.

#include <string>
#include <vector>

#include "usol/pipeline/maskcut_job.h"
#include "usol/pipeline/run.h"
#include "usol/report/report.h"

namespace usol {

/// Runs the job with its results in `folder`: masks.json (COCO), overlays/, stages/ (x and P of each cut), times.json;
/// and makes index.html of them, a page titled "Objects found by usol" that ends with `next_steps`. Returns as
/// MaskcutJob::run(), or kSomeInputsFailed if pictures could not be shown. With run.ranks, every process must call.
/// Throws as MaskcutJob::run() and write_report().
int run_maskcut_with_page(const Run& run, MaskcutJob& job, const std::string& folder,
                          const std::vector<report::ReportStep>& next_steps = {});

}  // namespace usol
