#include "usol/pipeline/report_page.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <utility>

#include "usol/io/picture_path.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/progress.h"
#include "usol/pipeline/reading.h"
#include "usol/pipeline/version.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

constexpr std::size_t kListedFailures = 20;

// Where the page goes, once it is known to harm nothing.
std::string checked_output(const Run& run, const ReportConfig& config, const std::string& out) {
  Outputs outputs(run);
  for (const std::string& source : config.runs) {
    const std::size_t equals = source.find('=');
    const std::string path = fs::exists(source) || equals == std::string::npos ? source : source.substr(equals + 1);
    outputs.reads(path);
    if (fs::is_directory(path)) outputs.reads_folder(path, {".json", ".npy"});
  }
  outputs.reads(config.annotations);
  if (!config.images.empty()) outputs.reads_folder(config.images, {".jpg", ".jpeg", ".png"});
  return outputs.file("out", out);
}

}  // namespace

void ReportConfig::declare(Settings& settings) {
  settings.positional("RUN", runs,
                      "Annotation files (COCO JSON, lists of results), metrics.json of trainings, files of usol eval, "
                      "sweep.json, or folders that hold these, of self-training too; NAME=PATH gives a run its name");
  settings.group("Files");
  settings.add("images DIR", images, "Folder of the pictures; without it there is no gallery", OptionKind::kRun);
  settings.add("annotations FILE", annotations, "The truth, COCO JSON: shown beside the runs, and they are scored",
               OptionKind::kRun);
  settings.add("dump DIR", dump, "Folder of usol maskcut's dump for the first run: its eigenvectors are shown",
               OptionKind::kRun);
  pictures.declare(settings, false);
  settings.group("The page");
  settings.add("title TEXT", title, "Its heading");
  settings.flag("class-aware", class_aware, "Objects must be of the truth's category to count");
  settings.add("most N", most, "Pictures in the gallery at most, evenly spread; 0: all").at_least(0);
  settings.add("page-mb MB", page_mb, "Size of the page at most: pictures get smaller as they get more").at_least(0.5);
}

int make_report(const Run& run, const ReportConfig& config, const std::string& out) {
  check(!config.runs.empty(), ErrorKind::kUsage, "nothing to report on: give annotation files or folders of runs");
  const std::string file = checked_output(run, config, out);
  for (const std::string& folder : {config.images, config.dump})
    check(folder.empty() || fs::is_directory(folder), ErrorKind::kUsage, "{}: no such folder", folder);
  check(config.annotations.empty() || fs::exists(config.annotations), ErrorKind::kUsage, "{}: no such file",
        config.annotations);
  const auto warnings = config.pictures.report_at_end(run);
  report::ReportSources sources = report::read_report_sources(config.runs, !config.annotations.empty(), config.images);
  for (const report::ReportRun& source : sources.runs) say_reading(run, source.set);
  if (!config.dump.empty()) {
    check(!sources.runs.empty(), ErrorKind::kUsage, "a dump belongs to a run, and there is none");
    sources.runs.front().stages = config.dump;
  }
  if (run.dry_run) {
    run.note("would report on {} runs, {} trainings, {} metrics files and {} sweeps and write {}", sources.runs.size(),
             sources.trainings.size(), sources.metrics.size(), sources.sweeps.size(), file);
    return kSuccess;
  }
  if (config.images.empty() && !sources.runs.empty())
    run.note("without the folder of the pictures (images) the page has no gallery");
  report::ReportOptions options;
  options.title = config.title;
  options.decode = config.pictures.decode();
  if (!config.images.empty())
    options.picture = [&](const std::string& name) { return io::picture_path(config.images, name); };
  options.annotations = config.annotations;
  options.image_root = config.images;
  options.class_aware = config.class_aware;
  options.most_pictures = config.most;
  options.page_mb = config.page_mb;
  return write_report_page(run, file, std::move(sources), options);
}

int write_report_page(const Run& run, const std::string& out, report::ReportSources sources,
                      report::ReportOptions options) {
  options.made_by = fmt::format("usol {}", version());
  options.truth_read = [&](const io::ReadingReport& report) { say_reading(run, options.annotations.string(), report); };
  make_folder_of(out);
  std::optional<Progress> progress;
  std::int64_t before = 0;
  const report::ReportResult result =
      report::write_report(out, std::move(sources), options, [&](std::int64_t done, std::int64_t total) {
        run.throw_if_stopped();
        if (!progress) progress.emplace(run, total, "pictures");
        for (; before < done; ++before) progress->step();
      });
  if (progress) progress->finish();
  progress.reset();
  if (result.left_out > 0) {
    run.note("the gallery shows {} pictures of {} (usol report has a setting, most, for it)", result.pictures,
             result.pictures + result.left_out);
  }
  run.note("wrote {}: {} pictures, {}", out, result.pictures, format_bytes(static_cast<double>(result.bytes)));
  if (result.failures.empty()) return kSuccess;
  run.warn("{} pictures could not be shown:", result.failures.size());
  for (std::size_t i = 0; i < std::min(result.failures.size(), kListedFailures); ++i)
    run.list("  " + result.failures[i]);
  if (result.failures.size() > kListedFailures)
    run.list(fmt::format("  and {} more", result.failures.size() - kListedFailures));
  return kSomeInputsFailed;
}

}  // namespace usol
