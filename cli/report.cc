// usol report: one page about runs, their pictures, metrics, curves and times; to look at, to compare, to send.
#include "usol/cli/report.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "usol/cli/signals.h"
#include "usol/io/picture_path.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/progress.h"
#include "usol/pipeline/reading.h"
#include "usol/pipeline/version.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

constexpr std::size_t kListedFailures = 20;

class ReportVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Writes one HTML file that needs no network and no other file: pictures with masks and scores (several runs "
        "and "
        "the truth beside each other), metrics in one table, distributions of areas, scores and counts, "
        "precision-recall curves, training curves, sweeps, times. Keys: j and k (or arrows) move, Enter enlarges, / "
        "filters by name.");
    options.positional("RUN", runs_,
                       "Annotation files (COCO JSON, lists of results), metrics.json of trainings, files of usol eval, "
                       "sweep.json, or folders that hold these, of self-training too; NAME=PATH gives a run its name");
    options.group("Files");
    options.add("--images DIR", images_, "Folder of the pictures; without it there is no gallery", OptionKind::kRun);
    options.add("--annotations FILE", annotations_, "The truth, COCO JSON: shown beside the runs, and they are scored",
                OptionKind::kRun);
    options.add("--dump DIR", dump_, "Folder of usol maskcut --dump for the first run: its eigenvectors are shown",
                OptionKind::kRun);
    pictures_.declare(options, false);
    options.add("--out FILE", out_, "The page to write", OptionKind::kRun);
    options.group("The page");
    options.add("--title TEXT", title_, "Its heading");
    options.flag("--class-aware", class_aware_, "Objects must be of the truth's category to count");
    options.add("--most N", most_, "Pictures in the gallery at most, evenly spread; 0: all").at_least(0);
    options.add("--page-mb MB", page_mb_, "Size of the page at most: pictures get smaller as they get more")
        .at_least(0.5);
    options.example("usol report masks.json --images photos --out report.html", "One run");
    options.example(
        "usol report MaskCut=masks.json LOST=lost.json round1/ --images val2017 --annotations val.json --out "
        "report.html",
        "Methods and rounds compared with the truth");
    options.example("usol report training/ --out training.html", "The curves of a training");
  }

  int run(const Run& run, const Options&) override {
    check(!runs_.empty(), ErrorKind::kUsage, "nothing to report on: give annotation files or folders of runs");
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    check_outputs(run);
    for (const std::string& folder : {images_, dump_})
      check(folder.empty() || fs::is_directory(folder), ErrorKind::kUsage, "{}: no such folder", folder);
    check(annotations_.empty() || fs::exists(annotations_), ErrorKind::kUsage, "{}: no such file", annotations_);
    const auto report = pictures_.report_at_end(run);
    report::ReportSources sources = report::read_report_sources(runs_, !annotations_.empty(), images_);
    for (const report::ReportRun& source : sources.runs) say_reading(run, source.set);
    if (!dump_.empty()) {
      check(!sources.runs.empty(), ErrorKind::kUsage, "--dump belongs to a run, and there is none");
      sources.runs.front().stages = dump_;
    }
    if (run.dry_run) {
      run.note("would report on {} runs, {} trainings, {} metrics files and {} sweeps and write {}",
               sources.runs.size(), sources.trainings.size(), sources.metrics.size(), sources.sweeps.size(), out_);
      return kSuccess;
    }
    if (images_.empty() && !sources.runs.empty()) run.note("without --images the page has no gallery");
    report::ReportOptions options;
    options.title = title_;
    options.decode = pictures_.decode();
    if (!images_.empty()) options.picture = [this](const std::string& name) { return io::picture_path(images_, name); };
    options.annotations = annotations_;
    options.image_root = images_;
    options.class_aware = class_aware_;
    options.most_pictures = most_;
    options.page_mb = page_mb_;
    return write_report_page(run, out_, std::move(sources), options);
  }

 private:
  void check_outputs(const Run& run) {
    Outputs outputs(run);
    for (const std::string& source : runs_) {
      const std::size_t equals = source.find('=');
      const std::string path = fs::exists(source) || equals == std::string::npos ? source : source.substr(equals + 1);
      outputs.reads(path);
      if (fs::is_directory(path)) outputs.reads_folder(path, {".json", ".npy"});
    }
    outputs.reads(annotations_);
    if (!images_.empty()) outputs.reads_folder(images_, {".jpg", ".jpeg", ".png"});
    out_ = outputs.file("--out", out_);
  }

  std::vector<std::string> runs_;
  PictureOptions pictures_;
  std::string images_, annotations_, dump_, out_, title_ = "usol report";
  bool class_aware_ = false;
  std::int64_t most_ = 1000;
  double page_mb_ = 50;
};

const RegisterVerb<ReportVerb> kReport("report", "one page to look through: pictures, metrics, curves, runs compared");

}  // namespace

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
    run.note("the gallery shows {} pictures of {}; usol report --most N shows more", result.pictures,
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

}  // namespace usol::cli
