// usol train: pictures and pseudo-masks (or boxes) -> a detector. Faster, Mask or Cascade R-CNN on a ResNet with a
// feature pyramid, with DropLoss and copy-paste, from scratch or from given weights. The work is in
// pipeline/train_job.cc.
#include <nlohmann/json.hpp>

#include "usol/cli/verb.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/train_job.h"

namespace usol::cli {
namespace {

class TrainVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Trains a detector on pictures and a COCO file of (pseudo-)masks: Cascade Mask R-CNN or Mask R-CNN on a ResNet "
        "with a feature pyramid; or on boxes alone: Cascade R-CNN or Faster R-CNN, also on C4. DIR gets metrics.json "
        "(one line of figures every so many steps), checkpoints to go on "
        "from, and at the end model_final.safetensors for usol predict.");
    options.about(
        "Before the first step all annotations, the headers and sizes of all pictures and the truth of the evaluation "
        "are "
        "checked; --dry-run does that alone. Pictures that cannot be read are skipped up to --most-skipped, and the "
        "exit "
        "status is 3 then. Damaged checkpoints are named, and --resume goes on from the newest one that is whole.");
    files_.declare(options);
    settings_.declare(options);
    options.example(
        "usol train --config configs/cutler_cascade.toml --annotations masks.json --image-root images "
        "--weights dino_rn50.pth --out run",
        "The paper's detector on MaskCut's masks");
    options.example(
        "usol train --config configs/lost_detector.toml --annotations lost.json --image-root images "
        "--weights dino_resnet50_pretrain.pth --out run",
        "LOST's detector, from boxes alone (docs/lost_detector.md)");
    options.example("usol train --config run.toml --out run --resume", "Goes on after an interruption");
    options.example("mpirun -n 4 usol train --config run.toml --out run",
                    "Four processes share each batch; the losses are those of one");
  }

  int run(const Run& run, const Options&) override { return run_training(run, settings_, files_); }
  bool shares_work() const override { return true; }

 private:
  TrainConfig settings_;
  TrainFiles files_;
};

const RegisterVerb<TrainVerb> kTrain("train", "a detector from pictures and pseudo-masks");

}  // namespace
}  // namespace usol::cli
