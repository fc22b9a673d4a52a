// usol run: the one command for someone with pictures and no labels: masks, pictures of them, and a page to look
// through. The work is in pipeline/maskcut_page.h.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "usol/cli/verb.h"
#include "usol/pipeline/maskcut_page.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class RunVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Finds the objects in your pictures and leaves everything in one folder: DIR/masks.json (COCO), DIR/overlays "
        "(each picture with its masks), and DIR/index.html, a page to look through them.");
    job_.declare(options);
    options.group("Output");
    options.add("--out DIR", out_, "Folder for the results", OptionKind::kRun);
    options.example("usol run my_pictures --weights dino_vitbase8_pretrain.pth --out results",
                    "Everything, with DINO features (best)");
    options.example("usol run my_pictures --out results",
                    "A first look, nothing downloaded: by classical means (--backbone contrast)");
  }

  int run(const Run& run, const Options&) override {
    check(!out_.empty(), ErrorKind::kUsage, "--out DIR is missing");
    FeatureOptions& features = job_.features;
    if (!features.weights.empty() || !features.from_features.empty() || !features.backbone.empty())
      return run_maskcut_with_page(run, job_, out_, next_steps());
    run.note(
        "no --weights: objects are found by contrast with the picture's border (--backbone contrast), which is much "
        "weaker than DINO's features");
    features.backbone = "contrast";
    Run chosen = run;  // whose outputs are to say so
    auto settings = nlohmann::ordered_json::parse(run.settings_json);
    settings["backbone"] = features.backbone;
    chosen.settings_json = settings.dump();
    return run_maskcut_with_page(chosen, job_, out_, next_steps());
  }
  bool shares_work() const override { return true; }

 private:
  std::vector<report::ReportStep> next_steps() const {
    const std::string masks = (std::filesystem::path(out_) / "masks.json").string();
    return {{fmt::format("usol eval --gt instances.json --pred {} --pseudo-masks", masks),
             "If you have a few labelled pictures: how good are the masks?"},
            {"usol maskcut PICTURES --weights W.pth --out masks.json --tau 0.2 --masks 5",
             "Other settings: a higher tau separates more, more cuts find more objects."},
            {"usol maskcut --help", "Shards for many machines, dumps of every stage for study."}};
  }

  MaskcutJob job_;
  std::string out_;
};

const RegisterVerb<RunVerb> kRunVerb("run", "pictures in, masks and a page to look through out");

}  // namespace
}  // namespace usol::cli
