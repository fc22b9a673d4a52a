// usol maskcut: pictures -> pseudo-masks, the first main job. Features, cuts, annotations, pictures to look at.
#include <algorithm>
#include <cstddef>
#include <string>

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
    options.group("Output");
    options.add("--out FILE", out_, "The COCO file to write; FILE.journal lies beside it meanwhile", OptionKind::kRun);
    options.add("--overlays DIR", overlays_, "Also a picture of each result: masks, boxes, scores, eigenvectors",
                OptionKind::kRun);
    options.add("--dump DIR", dump_,
                "Also every stage as .npy, under the names of the equations (K, W_1, d_1, x_1, ...)", OptionKind::kRun);
    options.add("--dump-only NAMES", dump_only_,
                "Of these, only some: x,P is what usol report shows, and far smaller than W", OptionKind::kRun);
    options.add("--times FILE", times_,
                "Also how many seconds each stage took, for usol report (with a GPU: how long the host was in it; of "
                "several processes: the first one's)",
                OptionKind::kRun);
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
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    MaskcutOutputs outputs{out_, overlays_, dump_, {}, times_};
    for (std::size_t start = 0; start < dump_only_.size();) {
      const std::size_t comma = std::min(dump_only_.find(',', start), dump_only_.size());
      outputs.dumped.push_back(dump_only_.substr(start, comma - start));
      start = comma + 1;
    }
    return job_.run(run, outputs);
  }
  bool shares_work() const override { return true; }

 private:
  MaskcutJob job_;
  std::string out_, overlays_, dump_, dump_only_, times_;
};

const RegisterVerb<MaskcutVerb> kMaskcut("maskcut", "pseudo-masks of the objects in pictures, without labels");

}  // namespace
}  // namespace usol::cli
