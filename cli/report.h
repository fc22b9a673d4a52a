#pragma once
// The report page as verbs write it: with progress, notes and an exit status.

#include <string>

#include "usol/cli/verb.h"
#include "usol/report/report.h"

namespace usol::cli {

/// write_report() to the file `out`, with a footer that names the version. kSomeInputsFailed if pictures could not be
/// shown (the first are listed).
int write_report_page(const Run& run, const std::string& out, report::ReportSources sources,
                      report::ReportOptions options);

}  // namespace usol::cli
