#pragma once
// One self-contained HTML page about runs: their pictures with masks and scores beside each other and the truth, the
// metrics in one table, distributions, precision-recall curves, training curves, sweeps, times.
// Place: the end of every pipeline; `usol report`, `usol run` and `usol sweep` write it.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "usol/io/image.h"
#include "usol/io/reading_report.h"
#include "usol/report/sources.h"

namespace usol::report {

/// A command to go on with.
struct ReportStep {
  std::string command, what;
};

struct ReportOptions {
  std::string title = "usol report";
  std::function<std::filesystem::path(const std::string& file_name)> picture;  // where it lies; empty: no gallery
  io::DecodeOptions decode = {};      // how pictures are read, but for their turning, which their sizes decide
  std::filesystem::path annotations;  // the truth; empty: none
  std::filesystem::path image_root;   // the folder of the pictures, for sizes that the truth lacks; may be empty
  bool class_aware = false;           // compare categories, too
  std::int64_t most_pictures = 1000;  // in the gallery, evenly spread; 0: all
  double page_mb = 50;                // the page's size at most (pictures get smaller)
  std::vector<ReportStep> next_steps = {};
  std::string made_by = {};  // a line at the end
  std::function<void(const io::ReadingReport&)> truth_read =
      {};  // hears what the truth's reader changed, before any error
};

struct ReportResult {
  std::int64_t pictures = 0, left_out = 0;  // in the gallery; not, because of most_pictures
  std::uint64_t bytes = 0;                  // of the page
  std::vector<std::string> failures;        // pictures that could not be shown, and why
};

/// Writes the page. It needs no network and no other file: pictures are JPEG data, masks SVG paths. `progress` hears
/// pictures done and in all. Same input, same bytes.
/// Throws Error if a source or the truth cannot be read, if runs and truth have no pictures in common or a list of
/// results comes without the truth (kUsage), or the page cannot be written.
ReportResult write_report(const std::filesystem::path& page, ReportSources sources, const ReportOptions& options,
                          const std::function<void(std::int64_t, std::int64_t)>& progress = {});

}  // namespace usol::report
