// A detector trained on a folder of pictures without labels: MaskCut makes masks, the training learns from them.
//
//   train_a_detector SETTINGS.toml PICTURES OUT [WEIGHTS]     (configs/cutler_cascade.toml has the paper's settings)
#include <usol/pipeline/maskcut_job.h>
#include <usol/pipeline/train_job.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <string_view>

struct Stderr : usol::LogSink {  // where messages go; the library itself prints nothing
  void line(std::string_view text) override {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  }
};

int main(int argc, char** argv) try {
  if (argc < 4) return std::fprintf(stderr, "usage: train_a_detector SETTINGS.toml PICTURES OUT [WEIGHTS]\n"), 2;
  const std::filesystem::path out = argv[3];
  usol::Run run;
  run.log = std::make_shared<Stderr>();
  run.existing = usol::Existing::kContinue;  // a run that was interrupted goes on where it stopped

  usol::MaskcutJob cut;
  cut.inputs.inputs = {argv[2]};
  if (argc > 4) cut.features.weights = argv[4];
  if (argc <= 4) cut.features.backbone = "colour";
  const int status = cut.run(run, {.coco = (out / "masks.json").string()});
  if (status != usol::kSuccess) return status;

  const auto config = usol::TrainConfig::from_toml(argv[1]);
  return usol::run_training(run, config, {(out / "masks.json").string(), argv[2], "", (out / "detector").string()});
} catch (const std::exception& error) {
  std::fprintf(stderr, "train_a_detector: %s\n", error.what());
  return 1;
}
