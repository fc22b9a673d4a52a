// usol features: the patch features of pictures, one file each, for `usol maskcut --from-features`, other programs, or
// a cluster that separates the two steps. The work is in pipeline/features_job.h.
#include <string>

#include "usol/cli/verb.h"
#include "usol/pipeline/features_job.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class FeaturesVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Writes <relative path without extension>.safetensors for each picture, with one tensor `features` [D, h, w], "
        "and DIR/features.json, which lists the pictures and how the features were made. With --shard K/N the list is "
        "DIR/features.KofN.json; `usol merge` makes one of all.");
    job_.declare(options);
    options.group("Output");
    options.add("--out DIR", out_, "Folder for the files", OptionKind::kRun);
    options.example("usol features images --weights dino_vitbase8_pretrain.pth --out features",
                    "DINO's keys of every picture under images/");
    options.example("usol maskcut images --from-features features --out masks.json", "and masks from them");
  }

  int run(const Run& run, const Options&) override {
    check(!out_.empty(), ErrorKind::kUsage, "--out DIR is missing");
    return job_.run(run, out_);
  }
  bool shares_work() const override { return true; }

 private:
  FeaturesJob job_;
  std::string out_;
};

const RegisterVerb<FeaturesVerb> kFeatures("features", "patch features of pictures, one file each");

}  // namespace
}  // namespace usol::cli
