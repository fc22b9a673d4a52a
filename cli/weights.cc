// usol weights: from one checkpoint format to another, and to Detectron2's names.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "usol/cli/verb.h"
#include "usol/io/checkpoint.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/key_map.h"
#include "usol/io/pth.h"
#include "usol/io/safetensors.h"
#include "usol/models/describe.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

class WeightsVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Reads weights in any format that usol reads (safetensors, PyTorch's .pth in both containers, Detectron2's "
        ".pkl) "
        "and writes safetensors, or a .pth that torch.load(weights_only=True), Detectron2 and CutLER open. Numbers are "
        "copied as they are.");
    options.positional("FILE", inputs_, "The file to convert; an index of several (.json) or a hub's folder, too");
    options.add(
        "--entry NAME", entry_,
        "Take this entry of the file's dict (\"student\", \"a/b\") or names behind a prefix (\"model/teacher.\", a "
        "dot at its end) instead of looking");
    options.choice("--names", names_, {"plain", "file", "detectron2"},
                   "plain: the original names, prefixes of training wrappers removed and the hubs' names renamed, as "
                   "models here take them. file: as they are. "
                   "detectron2: a ResNet with torchvision's names (DINO's, MoCo-v2's) becomes a detector's backbone");
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
    check(fs::exists(inputs_[0]), ErrorKind::kUsage, "{}: no such file", inputs_[0]);
    Outputs outputs(run);
    for (const fs::path& part : io::find_checkpoint_files(inputs_[0]).parts) outputs.reads(part.string());
    out_ = outputs.file("--out", out_);
    // What is no file need not have a name that says the format.
    const bool plain_stream = is_stream_output(out_) && !fs::path(out_).has_extension();
    const std::string extension = plain_stream ? ".safetensors" : fs::path(out_).extension().string();
    check(extension == ".safetensors" || extension == ".pth", ErrorKind::kUsage,
          "--out {}: expected a name that ends in .safetensors or .pth", out_);
    io::Checkpoint checkpoint = io::load_checkpoint(inputs_[0], {.entry = entry_, .map_keys = names_ != "file"});
    if (names_ == "detectron2") {
      io::KeyMapReport report = io::resnet_to_detectron2(checkpoint.tensors, "backbone.bottom_up.");
      checkpoint.applied.insert(checkpoint.applied.end(), report.applied.begin(), report.applied.end());
      checkpoint.left_out.insert(checkpoint.left_out.end(), report.left_out.begin(), report.left_out.end());
    }
    for (const std::string& text : checkpoint.applied) run.note("{}", text);
    for (const std::string& name : checkpoint.left_out) run.detail("left out: {}", name);
    const std::string what = describe_weights(checkpoint.tensors).architecture;
    run.note(
        "{}: {}, {} tensors{}", inputs_[0], what.empty() ? "an unknown architecture" : what, checkpoint.tensors.size(),
        checkpoint.left_out.empty() ? "" : fmt::format(", {} left out (-v lists them)", checkpoint.left_out.size()));
    if (run.dry_run) {
      run.note("would write {}", out_);
      return kSuccess;
    }
    make_folder_of(out_);
    if (extension == ".pth")
      io::save_pth(out_, checkpoint.tensors, "model");  // the entry that Detectron2 looks for
    else
      io::save_safetensors(out_, checkpoint.tensors, {{"info", make_info(run, "{}").dump()}});
    return kSuccess;
  }

 private:
  std::vector<std::string> inputs_;
  std::string entry_, names_ = "plain", out_;
};

const RegisterVerb<WeightsVerb> kWeights("weights", "weights from one file format to another");

}  // namespace
}  // namespace usol::cli
