// usol discover: the methods that MaskCut is compared with, on the same features, to the same COCO records. The work is
// in pipeline/discover_job.h.
#include "usol/cli/verb.h"
#include "usol/pipeline/discover_job.h"
#include "usol/pipeline/discover_train.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class DiscoverVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Finds objects by the methods that MaskCut is compared with: TokenCut (one cut, or three eigenvectors of it), "
        "LOST, FOUND, DINO-seg, bisecting k-means and FreeSOLO's free masks; or by MaskCut with its published "
        "constants "
        "(`usol maskcut` has all its options). The features come from one extractor, the results are COCO records of "
        "one form: category 'fg', mask, box, and a score (1; MaskCut's and FreeSOLO's own).");
    job_.declare(options, &training_);
    outputs_.declare(options);
    options.group("Running");
    job_.shard.declare(options);
    options.example(
        "usol discover images --method lost --weights dino_deitsmall16_pretrain.pth --out lost.json",
        "One object per picture, by LOST; `usol eval --corloc --match file_name --gt GT.json --pred lost.json` "
        "scores them");
    options.example("usol discover images --method tokencut --weights W.pth --out tokencut.json --overlays look",
                    "By TokenCut, with pictures to look at");
    options.example("usol discover images --method tokencut --task saliency --weights W.pth --out s.json --maps maps",
                    "TokenCut's saliency maps, fitted to the pictures' edges");
    options.example(
        "usol discover images --method found --found-weights decoder_weights.pt --weights "
        "dino_deitsmall8_300ep_pretrain.pth --out found.json",
        "By FOUND: scripts/download-weights fetches its layer (found_vits8) and the weights it was made for "
        "(dino_vits8_300ep)");
    options.example("usol discover images --method found --train-head head.safetensors --weights W.pth",
                    "FOUND's layer, trained on your own pictures; use it with --found-weights head.safetensors");
    options.example(
        "usol discover images --method freemask --weights densecl_r101_imagenet_200ep.pth --out free.json",
        "FreeSOLO's free masks, from which its detector learns; --embeddings adds the numbers of its paper");
    options.example("usol discover photos --method bisecting-kmeans --backbone colour --out a.json",
                    "Without any weights: a look at how it works");
  }

  int run(const Run& run, const Options& options) override {
    if (training_.wanted()) {
      for (const char* key : {"task", "bilateral", "found-stage", "found-weights"})
        check(!options.uses(key) || !options.given(key), ErrorKind::kUsage,
              "--train-head writes the layer alone; leave out --{}", key);
      check(!run.ranks, ErrorKind::kUsage, "--train-head is the work of one process: start no others with it");
      check(outputs_.coco.empty() && outputs_.overlays.empty() && outputs_.maps.empty(), ErrorKind::kUsage,
            "--train-head writes the layer alone; leave out --out, --overlays and --maps");
      const auto report = job_.pictures.report_at_end(run);
      return training_.run(run, job_.features, job_.inputs, job_.pictures);
    }
    for (const char* key : {"iterations", "batch"})
      check(!options.uses(key) || !options.given(key), ErrorKind::kUsage, "--{} goes with --train-head", key);
    check(!outputs_.coco.empty(), ErrorKind::kUsage, "--out FILE is missing");
    check(outputs_.maps.empty() || job_.method.gives_maps(), ErrorKind::kUsage, "--maps goes with --task saliency");
    return job_.run(run, outputs_);
  }
  bool shares_work() const override { return true; }

 private:
  DiscoverJob job_;
  HeadTraining training_;
  DiscoverOutputs outputs_;
};

const RegisterVerb<DiscoverVerb> kDiscover("discover", "objects by TokenCut, LOST, FOUND and others, to compare with");

}  // namespace
}  // namespace usol::cli
