// usol maskcut: pictures -> pseudo-masks, the first main job. Features, cuts, annotations, pictures to look at.
#include "usol/cli/verb.h"
#include "usol/pipeline/maskcut_job.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class MaskcutVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "MaskCut (Wang et al. 2023): patch features of each picture are a graph; its normalized cuts, one after "
        "another, are the objects; a dense CRF fits them to the picture's edges. The masks go to a COCO file (one "
        "category, compressed RLE, with scores), ready for training or evaluation.");
    job_.declare(options);
    outputs_.declare(options);
    options.example("usol maskcut images --weights dino_vitbase8_pretrain.pth --out masks.json --overlays look",
                    "The whole method on a folder, with pictures to look at");
    options.example("usol maskcut cat.jpg dog.jpg --backbone colour --out masks.json",
                    "Without any weights: the classical normalized cut");
    options.example("usol maskcut train2017.json --image-root train2017 --weights W.pth --out masks.json --resume",
                    "The images of a COCO file, with its ids; goes on where it was interrupted");
    options.example("usol maskcut images --weights W.pth --out part3.json --shard 3/8",
                    "One of eight machines; `usol merge` joins their files");
    options.example("mpirun -n 8 usol maskcut images --weights W.pth --out masks.json",
                    "Eight processes share the pictures; the file is that of one");
  }

  int run(const Run& run, const Options&) override {
    check(!outputs_.coco.empty(), ErrorKind::kUsage, "--out FILE is missing");
    return job_.run(run, outputs_);
  }
  bool shares_work() const override { return true; }

 private:
  MaskcutJob job_;
  MaskcutOutputs outputs_;
};

const RegisterVerb<MaskcutVerb> kMaskcut("maskcut", "pseudo-masks of the objects in pictures, without labels");

}  // namespace
}  // namespace usol::cli
