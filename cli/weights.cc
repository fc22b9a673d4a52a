// usol weights: from one checkpoint format to another, and to Detectron2's names. The work is in
// pipeline/convert_weights.h.
#include <string>
#include <vector>

#include "usol/cli/verb.h"
#include "usol/pipeline/convert_weights.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class WeightsVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Reads weights in any format that usol reads (safetensors, PyTorch's .pth in both containers, Detectron2's "
        ".pkl) "
        "and writes safetensors, or a .pth that torch.load(weights_only=True), Detectron2 and CutLER open. Numbers are "
        "copied as they are; types that usol lacks (i8, i16, u16, u32) become the next wider one, which is said.");
    options.positional("FILE", inputs_, "The file to convert; an index of several (.json) or a hub's folder, too");
    conversion_.declare(options);
    options.add("--out FILE", out_, "The file to write; .safetensors or .pth", OptionKind::kRun);
    options.example("usol weights cutler_cascade_final.pth --out cutler.safetensors",
                    "A detector that loads without a copy");
    options.example("usol weights cutler.safetensors --out cutler.pth", "And back, for Detectron2");
    options.example("usol weights dinov2-small/ --out dinov2_vits14.pth", "A hub's folder, under the original names");
    options.example("usol weights dino_resnet50_pretrain.pth --names detectron2 --out dino_r50.safetensors",
                    "A self-supervised ResNet-50, to start a detector's training from");
  }

  int run(const Run& run, const Options&) override {
    check(inputs_.size() == 1, ErrorKind::kUsage, "one FILE to convert is needed, got {}", inputs_.size());
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    conversion_.input = inputs_[0];
    return convert_weights(run, conversion_, out_);
  }

 private:
  std::vector<std::string> inputs_;
  WeightsConversion conversion_;
  std::string out_;
};

const RegisterVerb<WeightsVerb> kWeights("weights", "weights from one file format to another");

}  // namespace
}  // namespace usol::cli
