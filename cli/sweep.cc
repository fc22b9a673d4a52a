// usol sweep: MaskCut, and detectors trained on its masks, under many settings, scored against the truth: the paper's
// ablations in one command. The work is in pipeline/sweep.h.
#include "usol/pipeline/sweep.h"

#include <string>

#include "usol/cli/run_verb.h"
#include "usol/cli/verb.h"

namespace usol::cli {
namespace {

class SweepVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "MaskCut under many settings, scored against the truth as `usol eval --pseudo-masks` does it. DIR gets a "
        "folder for each point (masks.json, metrics.json) and the results of all as sweep.json, sweep.csv and "
        "sweep.md; `usol report DIR` shows them. Features are computed once for all points that share them (a new "
        "--size, say, needs new ones), and cuts once for all numbers of masks.");
    options.about(
        "With a setting of usol train, or rounds, among the parameters, each point is a detector: trained on the masks "
        "(made once for all points that share them), run on held-out pictures and scored there by usol self-train in "
        "the point's folder. --resume goes on in the step that was interrupted.");
    config_.declare(options);
    options.example(
        "usol sweep val.json --image-root val2017 --annotations val.json --weights W.pth --one-at-a-time --param "
        "size=240,360,480,640 --param tau=0,0.1,0.15,0.2,0.3 --param masks=2,3,4 --out ablations",
        "The paper's ablations of MaskCut");
    options.example(
        "usol sweep train --weights W.pth --param droploss-iou=0,0.01,0.1,0.2 --train-config "
        "configs/cutler_cascade.toml --train-weights dino_rn50.pth --eval-annotations val.json --eval-image-root val "
        "--out droploss",
        "That of DropLoss: MaskCut once, a detector for each threshold");
    options.example(
        "usol sweep --train-masks masks.json --image-root train --param short-sides=[480,512],[600] --train-config "
        "configs/cutler_cascade.toml --eval-annotations val.json --eval-image-root val --out sizes",
        "Values that are lists stand in brackets, as in a settings file (and quotes, where a shell makes more of "
        "them)");
    options.example("usol report ablations --out ablations.html", "Their tables and curves");
  }

  int run(const Run& run, const Options& options) override {
    config_.maskcut_given = options.given();
    if (config_.trains()) config_.read_detector(options.text("config"), read_as_verb);
    const SweepResult result = sweep(config_, run);
    if (!result.points.empty()) run.note("usol report {} --out PAGE.html shows them", config_.out);
    return result.status;
  }
  bool shares_work() const override { return true; }

 private:
  SweepConfig config_;
};

const RegisterVerb<SweepVerb> kSweep("sweep",
                                     "MaskCut and detectors under many settings, scored: the paper's ablations");

}  // namespace
}  // namespace usol::cli
