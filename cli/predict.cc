// usol predict: pictures -> objects, with a trained detector. The work is in pipeline/predict_job.h.
#include <filesystem>
#include <string>

#include "usol/cli/verb.h"
#include "usol/pipeline/predict_job.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class PredictVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Finds the objects in pictures with a detector: Cascade Mask R-CNN or Mask R-CNN on a ResNet with a feature "
        "pyramid, as CutLER trains them, or on ViTDet; or detectors of boxes alone, Faster R-CNN also on C4. The "
        "objects go to a COCO file (compressed RLE masks where there are any, boxes, scores), ready for evaluation or "
        "as the pseudo-masks of another round of training.");
    job_.declare(options);
    outputs_.declare(options);
    options.example("usol predict images --weights cutler_cascade_final.pth --out found.json --overlays look",
                    "The objects in a folder of pictures, with pictures to look at");
    options.example("usol predict val2017.json --image-root val2017 --weights W.pth --out found.json --score 0",
                    "All detections, for usol eval");
    options.example("usol predict val2017.json --image-root val2017 --weights W.pth --out found.json --score 0 --tta",
                    "The same with Detectron2's test-time augmentation; --tta-short-sides 600,800 for less of it");
  }

  int run(const Run& run, const Options& options) override {
    check(!outputs_.coco.empty(), ErrorKind::kUsage, "--out FILE is missing");
    check(!job_.weights.empty(), ErrorKind::kUsage,
          "--weights FILE is missing: a detector's weights, such as CutLER's cutler_cascade_final.pth");
    check(std::filesystem::exists(job_.weights), ErrorKind::kUsage, "--weights {}: no such file", job_.weights);
    for (const char* key : {"tta-short-sides", "tta-long-side", "tta-flip"})
      check(job_.tta || !options.given(key), ErrorKind::kUsage, "--{} is for --tta", key);
    check(!job_.tta || !options.given("batch") || job_.batch == 1, ErrorKind::kUsage,
          "--batch {}: with --tta a picture's own sizes are the batch; leave it out", job_.batch);
    return job_.run(run, outputs_);
  }
  bool shares_work() const override { return true; }

 private:
  PredictJob job_;
  PredictOutputs outputs_;
};

const RegisterVerb<PredictVerb> kPredict("predict", "objects in pictures, with a trained detector");

}  // namespace
}  // namespace usol::cli
