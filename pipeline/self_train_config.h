#pragma once
// How the whole loop of self-training goes: what it works on, its rounds, and the settings of its stages, read from the
// files that the verbs read.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "usol/pipeline/evaluate.h"
#include "usol/pipeline/maskcut_job.h"
#include "usol/pipeline/next_round.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/predict_job.h"
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
  std::string entry;                              // of these weights, as CheckpointOptions::entry; "": what is found
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

}  // namespace usol
