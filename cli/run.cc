// usol run: the one command for someone with pictures and no labels: masks, pictures of them, and a page to look
// through.
#include <filesystem>
#include <string>
#include <vector>

#include "usol/cli/report.h"
#include "usol/cli/verb.h"
#include "usol/pipeline/maskcut_job.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

class RunVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Finds the objects in your pictures and leaves everything in one folder: DIR/masks.json (COCO), DIR/overlays "
        "(each picture with its masks), and DIR/index.html, a page to look through them.");
    job_.declare(options);
    options.group("Output");
    options.add("--out DIR", out_, "Folder for the results", OptionKind::kRun);
    options.example("usol run my_pictures --weights dino_vitbase8_pretrain.pth --out results",
                    "Everything, with DINO features (best)");
    options.example("usol run my_pictures --backbone colour --out results", "A first look, nothing downloaded");
  }

  int run(const Run& run, const Options&) override {
    check(!out_.empty(), ErrorKind::kUsage, "--out DIR is missing");
    const std::string masks = (fs::path(out_) / "masks.json").string();
    const fs::path folder = out_;
    const MaskcutOutputs outputs{.coco = masks,
                                 .overlays = (folder / "overlays").string(),
                                 .dump = (folder / "stages").string(),
                                 .dumped = {"x", "P"},
                                 .times = (folder / "times.json").string(),
                                 .beside = {{"out", (folder / "index.html").string()}}};
    const int status = job_.run(run, outputs);
    if (run.dry_run || (status != kSuccess && status != kSomeInputsFailed)) return status;
    if (!run.leads()) return status;
    report::ReportOptions report;
    report.title = "Objects found by usol";
    report.picture = job_.picture_paths();
    report.decode = job_.pictures.decode();
    report.decode.warnings = nullptr;  // the work has heard them
    report.next_steps = next_steps(masks);
    const int page_status =
        write_report_page(run, (folder / "index.html").string(), report::read_report_sources({out_}), report);
    return status == kSuccess ? page_status : status;
  }
  bool shares_work() const override { return true; }

 private:
  static std::vector<report::ReportStep> next_steps(const std::string& masks) {
    return {{fmt::format("usol eval --gt instances.json --pred {} --pseudo-masks", masks),
             "If you have a few labelled pictures: how good are the masks?"},
            {"usol maskcut PICTURES --weights W.pth --out masks.json --tau 0.2 --masks 5",
             "Other settings: a higher tau separates more, more cuts find more objects."},
            {"usol maskcut --help", "Shards for many machines, dumps of every stage for study."}};
  }

  MaskcutJob job_;
  std::string out_;
};

const RegisterVerb<RunVerb> kRunVerb("run", "pictures in, masks and a page to look through out");

}  // namespace
}  // namespace usol::cli
