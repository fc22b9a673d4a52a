// usol report: one page about runs, their pictures, metrics, curves and times; to look at, to compare, to send. The
// work is in pipeline/report_page.h.
#include <string>

#include "usol/cli/verb.h"
#include "usol/pipeline/report_page.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class ReportVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Writes one HTML file that needs no network and no other file: pictures with masks and scores (several runs "
        "and the truth beside each other), metrics in one table, distributions of areas, scores and counts, "
        "precision-recall curves, training curves, sweeps, times. Keys: j and k (or arrows) move, Enter enlarges, / "
        "filters by name.");
    config_.declare(options);
    options.group("Output");
    options.add("--out FILE", out_, "The page to write", OptionKind::kRun);
    options.example("usol report masks.json --images photos --out report.html", "One run");
    options.example(
        "usol report MaskCut=masks.json LOST=lost.json round1/ --images val2017 --annotations val.json --out "
        "report.html",
        "Methods and rounds compared with the truth");
    options.example("usol report training/ --out training.html", "The curves of a training");
  }

  int run(const Run& run, const Options&) override {
    check(!config_.runs.empty(), ErrorKind::kUsage, "nothing to report on: give annotation files or folders of runs");
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    return make_report(run, config_, out_);
  }

 private:
  ReportConfig config_;
  std::string out_;
};

const RegisterVerb<ReportVerb> kReport("report", "one page to look through: pictures, metrics, curves, runs compared");

}  // namespace
}  // namespace usol::cli
