#pragma once
// The whole method as one function: masks (MaskCut's, unless some are given) -> a detector, trained with DropLoss ->
// rounds of self-training, each of which predicts on the training pictures, merges what was found with the masks of
// before, and trains on from the last weights. Every stage is a function of this room and has a folder of its own.
// Source: Wang et al. 2023 (CutLER), section 3.4.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "usol/eval/metrics.h"
#include "usol/pipeline/evaluate.h"
#include "usol/pipeline/maskcut_job.h"
#include "usol/pipeline/next_round.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/predict_job.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/settings.h"
#include "usol/pipeline/train_config.h"

namespace usol {

/// Reads into the settings that `declare` declares what `file` ("": none) has for `verb`, and takes `preset` ("": the
/// file's). Returns the keys of all values that are neither defaults nor a preset's.
using ReadSettings =
    std::function<std::vector<std::string>(const std::string& verb, const std::string& file, const std::string& preset,
                                           const std::function<void(Settings&)>& declare)>;
/// That of a library: there is the file alone. Throws as Settings::read_file().
std::vector<std::string> read_settings(const std::string& verb, const std::string& file, const std::string& preset,
                                       const std::function<void(Settings&)>& declare);

struct SelfTrainConfig {
  // What the loop works on.
  std::string image_root;                         // the folder of the training pictures
  std::string annotations;                        // COCO file of masks to begin with; "": MaskCut makes one
  std::string weights;                            // what the first training starts from; "": random numbers
  std::string maskcut_weights;                    // DINO's ViT for MaskCut; "": as `maskcut` says
  std::string eval_annotations, eval_image_root;  // truth that each detector is scored with, and its pictures; or none
  std::string out;                                // the folder of all stages

  // What all stages share.
  std::string preset = "paper";
  PictureOptions pictures;  // but for exif, which each stage has

  // The rounds.
  std::int64_t rounds = 3;                    // after the first training
  std::vector<double> thresholds{0.7, 0.65};  // scores from which predictions are kept, by round; the last one on
  std::int64_t detections = 30;               // predictions per training picture

  // The stages, but for the files and values that follow from the above.
  MaskcutJob maskcut;
  MaskcutOutputs maskcut_outputs;
  TrainConfig base, round;  // the first training, and those of the rounds
  PredictJob predict;
  PredictOutputs predict_outputs;
  NextRoundConfig merge;
  EvaluateConfig evaluate;
  EvaluateOutputs evaluate_outputs;
  std::string train_config, round_config;  // the settings files of `base` and `round`, if there are
  std::vector<std::string> maskcut_given, base_given, round_given;  // keys that use_preset() leaves as they are

  /// Declares all but the stages.
  void declare(Settings& settings);
  /// A settings file such as configs/self_train.toml: its section [self-train], read_stages() of it. Throws as
  /// Settings::read_file().
  static SelfTrainConfig from_toml(const std::string& path);
  /// Reads the stages: `base` and `round` (if there are rounds) from their settings files, which may also lie beside
  /// `file`, the others from their sections of `file` ("": none): [maskcut], [predict], [eval]. Throws Error(kUsage)
  /// for a settings file of a training that is missing.
  void read_stages(const std::string& file, const ReadSettings& read = read_settings);
  /// Takes another preset, with all that it sets in the stages unless it was given.
  void use_preset(const std::string& name);
};

/// A stage of the loop, as planned.
struct SelfTrainStage {
  std::string name;                                          // and its folder: "round1/train"
  std::string verb;                                          // of the binary that does the same: "train"
  std::filesystem::path output;                              // what later stages read
  std::string settings_file;                                 // that its settings were read from; "": none
  std::vector<std::pair<std::string, std::string>> decided;  // keys and values that the loop has set, in their order
  std::string settings_json;                                 // what its output says of its making
  bool goes_on = false;  // after an interruption; the others are short and made anew
};

/// A detector of the loop.
struct SelfTrainDetector {
  std::string name;                            // "base", "round1", ...
  std::filesystem::path masks, model;          // what it learned from, and its weights
  std::filesystem::path predictions, metrics;  // of its evaluation; empty without one
  std::map<std::string, Metrics> scores = {};  // "box", "mask": the metrics as fractions, if it was evaluated
};

struct SelfTrainResult {
  int status = kSuccess;                     // as pipeline/run.h
  std::vector<SelfTrainStage> stages;        // all of them, done or not
  std::vector<SelfTrainDetector> detectors;  // the first one, and each round's; with scores in the process that leads
};

/// Runs the loop, together with run.ranks if there are any. `out`/manifest.json says which stages are done, with the
/// settings of each and the SHA-256 of its output. A folder with one is an error (kExists), begun anew or gone on with,
/// as run.existing says; with more rounds than before, rounds are added. Other settings than those of the stages that
/// are done are an error (kOtherSettings), an output that was changed since is one (kFormat), a manifest of another
/// version of usol, too (kOtherVersion). Settings of all stages, annotations, pictures and the truth of the evaluation
/// are checked before the first stage; with run.dry_run that is all. Throws what the stages throw, with their names.
SelfTrainResult self_train(const SelfTrainConfig& config, const Run& run);

}  // namespace usol
