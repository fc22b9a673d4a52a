// The whole method on a folder of pictures without labels: MaskCut's masks, a detector, rounds of self-training, and
// how good each detector is.
//
//   self_training SETTINGS.toml PICTURES OUT [TRUTH.json ITS_PICTURES [WEIGHTS]]    (configs/self_train.toml: the
//   paper's)
#include <usol/pipeline/self_train.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <string_view>

struct Stderr : usol::LogSink {  // where messages go; the library itself prints nothing
  void line(std::string_view text) override {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  }
};

int main(int argc, char** argv) try {
  if (argc < 4) return std::fprintf(stderr, "usage: self_training SETTINGS.toml PICTURES OUT [TRUTH ...]\n"), 2;
  usol::Run run;
  run.log = std::make_shared<Stderr>();
  run.existing = usol::Existing::kContinue;  // a run that was interrupted goes on in the stage where it stopped

  auto config = usol::SelfTrainConfig::from_toml(argv[1]);
  config.image_root = argv[2];
  config.out = argv[3];
  if (argc > 5) config.eval_annotations = argv[4], config.eval_image_root = argv[5];
  if (argc > 6) config.weights = argv[6];  // such as DINO's ResNet-50; without them from random numbers

  const usol::SelfTrainResult result = usol::self_train(config, run);
  for (const usol::SelfTrainDetector& detector : result.detectors) {
    std::printf("%s: %s\n", detector.name.c_str(), detector.model.c_str());
    for (const auto& [type, metrics] : detector.scores)  // COCO's, as fractions: AP, AP50, ...
      for (const auto& [name, value] : metrics)
        if (value >= 0) std::printf("  %s %s %.1f %%\n", type.c_str(), name.c_str(), 100 * value);
  }
  return result.status;
} catch (const std::exception& error) {
  std::fprintf(stderr, "self_training: %s\n", error.what());
  return 1;
}
