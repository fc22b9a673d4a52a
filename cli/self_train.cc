// usol self-train: the whole loop in one command. The work is in pipeline/self_train.h.
#include "usol/pipeline/self_train.h"

#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "usol/cli/run_verb.h"
#include "usol/cli/verb.h"

namespace usol::cli {
namespace {

using Words = std::vector<std::string>;

// The options that every verb has, as words for another one.
Words common_words(const Options& options) {
  Words words;
  for (const std::string key : {"threads", "seed", "device", "precision"})
    words.insert(words.end(), {"--" + key, options.text(key)});
  for (const std::string key : {"deterministic", "quiet", "verbose"})
    if (options.text(key) == "true") words.push_back("--" + key);
  return words;
}

class SelfTrainVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "The whole method: MaskCut (if no annotations are given) -> a detector, trained with DropLoss -> rounds of "
        "self-training, each of which predicts on the training pictures, merges what was found with the masks of "
        "before, and trains on from the last weights. Every stage is a verb of usol and has a folder of its own below "
        "DIR; DIR/manifest.json says which are done. A run that was interrupted goes on in the stage it was in with "
        "--resume; --resume with more --rounds adds rounds to a finished run. Processes that mpirun or srun started "
        "together share masks, trainings and predictions.");
    options.about(
        "Settings of stages: --train-config and --round-config are files for usol train; the sections [maskcut], "
        "[predict] and [eval] of --config are read by those verbs.");
    config_.declare(options);
    options.example(
        "usol self-train --config configs/self_train.toml --image-root train --annotations masks.json --weights "
        "dino_rn50.pth --out run --eval-annotations val.json --eval-image-root val",
        "The paper's three rounds, each evaluated");
    options.example("usol self-train --config configs/self_train.toml ... --out run --resume",
                    "Goes on after an interruption");
  }

  int run(const Run& run, const Options& options) override {
    // Wrong settings of the last stage are found before the first one.
    config_.read_stages(options.text("config"), read_as_verb);
    const SelfTrainResult result = self_train(config_, run);
    if (run.dry_run)
      for (const SelfTrainStage& stage : result.stages)
        run.note("{:<20} usol {} {}", stage.name, stage.verb, fmt::join(words_of(stage, options), " "));
    return result.status;
  }
  bool shares_work() const override { return true; }

 private:
  // The command that does a stage alone.
  Words words_of(const SelfTrainStage& stage, const Options& options) const {
    Words words;
    const bool has_section = stage.verb == "maskcut" || stage.verb == "predict" || stage.verb == "eval";
    const std::string settings = has_section ? options.text("config") : stage.settings_file;
    if (!settings.empty()) words.insert(words.end(), {"--config", settings});
    if (stage.verb != "predict" && stage.verb != "eval") words.insert(words.end(), {"--preset", config_.preset});
    for (const auto& [key, value] : stage.decided) {
      if (key != "input") words.push_back("--" + key);
      if (value != "true") words.push_back(value);
    }
    const Words common = common_words(options);
    words.insert(words.end(), common.begin(), common.end());
    if (stage.verb == "merge") words.push_back("--self-training");
    words.push_back(stage.goes_on ? "--resume" : "--force");
    return words;
  }

  SelfTrainConfig config_;
};

const RegisterVerb<SelfTrainVerb> kSelfTrain("self-train",
                                             "the whole loop: masks, a detector, rounds of self-training");

}  // namespace
}  // namespace usol::cli
