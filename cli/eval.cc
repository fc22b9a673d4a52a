// usol eval: scores predictions, pseudo-masks or maps against the truth, and writes the metrics to a file. The work is
// in pipeline/evaluate.h.
#include <string>

#include "usol/cli/verb.h"
#include "usol/pipeline/evaluate.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class EvalVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Scores predictions against the truth by COCO's protocol: average precision and recall of boxes and masks, "
        "equal to pycocotools'. Both files are COCO JSON; predictions may also be a list of results. Fractions go to "
        "--out, percentages to the terminal; -1 stands where there is no truth to compare with. With --corloc or "
        "--saliency, the metrics of single-object discovery and of saliency detection instead.");
    config_.declare(options);
    outputs_.declare(options);
    options.example("usol eval --gt instances_val2017.json --pred coco_instances_results.json --out metrics.json",
                    "All metrics, box and mask, over all categories");
    options.example("usol eval --gt gt.json --pred maskcut.json --pseudo-masks --match file_name --out metrics.json",
                    "How good are the pseudo-masks?");
    options.example("usol eval --gt gt.json --pred results.json --class-agnostic --box-only --out metrics.json",
                    "Class-agnostic boxes");
    options.example("usol eval --gt gt.json --pred found.json --assign --out metrics.json",
                    "What a detector that was trained on groups without names knows of the truth's categories");
    options.example("usol eval --saliency --gt DUTS/masks --pred maps --out metrics.json", "Saliency maps");
  }

  int run(const Run& run, const Options& options) override {
    check(!config_.truth.empty(), ErrorKind::kUsage, "--gt FILE is missing");
    check(!config_.predictions.empty(), ErrorKind::kUsage, "--pred FILE is missing");
    check(!outputs_.metrics.empty(), ErrorKind::kUsage, "--out FILE is missing");
    check(!config_.box_only || !options.given("iou"), ErrorKind::kUsage, "--box-only and --iou exclude each other");
    for (const char* key : {"iou", "max-dets"})
      for (const char* other : {"corloc", "saliency", "voc"})
        check(!options.given(key) || !options.given(other) || (other == std::string("voc") && config_.voc == "off"),
              ErrorKind::kUsage, "--{} is of COCO's average precision, which --{} takes the place of; leave one out",
              key, other);
    config_.ids_are_certain = options.given("match");
    return write_evaluation(run, config_, outputs_);
  }

 private:
  EvaluateConfig config_;
  EvaluateOutputs outputs_;
};

const RegisterVerb<EvalVerb> kEval("eval", "average precision, CorLoc or saliency metrics of predictions");

}  // namespace
}  // namespace usol::cli
