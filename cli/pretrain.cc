// usol pretrain: pictures -> a vision transformer's weights, by DINO, without labels. The work is in
// pipeline/pretrain_job.cc.
#include <nlohmann/json.hpp>

#include "usol/cli/verb.h"
#include "usol/pipeline/pretrain_job.h"

namespace usol::cli {
namespace {

class PretrainVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Trains a vision transformer on pictures alone (DINO, and iBOT's loss of hidden patches as an option), from "
        "random numbers or from weights. DIR gets metrics.json (one line of figures every so many steps), pictures of "
        "what the network attends to, checkpoints to go on from, and at the end model_final.safetensors and "
        "model_final.pth, which --weights of other verbs takes.");
    options.about(
        "This is for people with many pictures of their own kind and a GPU. A pre-training at small scale does not "
        "make better masks than no weights at all: docs/pretraining.md has the figures.");
    files_.declare(options);
    settings_.declare(options);
    options.example("usol pretrain photos/ --preset tiny --out pre", "A small network on a few thousand pictures");
    options.example("usol pretrain photos/ --weights dino_vits16.pth --epochs 20 --batch 256 --device cuda --out pre",
                    "DINO's own network goes on with your pictures");
    options.example("usol pretrain photos/ --preset tiny --out pre --resume", "Goes on after an interruption");
    options.example("mpirun -n 8 usol pretrain photos/ --preset dino-vits16 --device cuda --out pre",
                    "Eight GPUs share each batch");
  }

  int run(const Run& run, const Options&) override { return run_pretraining(run, settings_, files_); }
  bool shares_work() const override { return true; }

 private:
  PretrainConfig settings_;
  PretrainFiles files_;
};

const RegisterVerb<PretrainVerb> kPretrain("pretrain", "a backbone's weights from pictures alone");

}  // namespace
}  // namespace usol::cli
