// The door of detectors: a second kind, known to this file alone, is chosen by a training, trained, recognised from its
// checkpoint, described and asked for objects; nothing of the pipeline is told of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/metrics.h"
#include "tests/support/process.h"
#include "tests/support/rectangles.h"
#include "tests/support/temp_dir.h"
#include "usol/autograd/grad_mode.h"
#include "usol/cli/run_verb.h"
#include "usol/io/checkpoint.h"
#include "usol/io/coco.h"
#include "usol/models/detector.h"
#include "usol/models/rcnn/settings.h"
#include "usol/nn/init.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/linear.h"
#include "usol/ops/reduce.h"
#include "usol/ops/regression_loss.h"
#include "usol/ops/view.h"
#include "usol/pipeline/predict_job.h"
#include "usol/pipeline/sweep.h"
#include "usol/pipeline/train_job.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

using Json = nlohmann::ordered_json;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

// One box a picture, told from the picture's mean colour; no masks.
class OneBox : public Detector {
 public:
  OneBox(const Scope& scope, double weight)
      : weight_((scope / "one_box").parameter("weight", {4, 3}, init::normal(0.1f))),
        bias_((scope / "one_box").parameter("bias", {4}, init::zeros())),
        of_loss_(weight) {}

  detection::Info info() const override { return {.name = "One box", .masks = false, .short_px = 48, .long_px = 64}; }
  detection::Losses losses(const std::vector<Tensor>& pictures, const std::vector<detection::Truths>& truths,
                           const detection::Draws&, const Context&) const override {
    Tensor sum;
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      const Tensor truth = truths[i].boxes.slice(0, 0, 1);
      const Tensor loss = mean(l1_loss(box_of(pictures[i]), truth));
      sum = sum.defined() ? add(sum, loss) : loss;
    }
    return {{"loss_box", affine(sum, of_loss_)}};
  }
  void run_norms(const std::vector<Tensor>&, const Context&) const override {}
  detection::Seen see(const std::vector<Tensor>& pictures, const detection::DetectOptions&) const override {
    const NoGrad no_grad;
    detection::Seen seen;
    for (const Tensor& picture : pictures)
      seen.found.push_back({box_of(picture), Tensor::full({1}, 0.9), Tensor::zeros({1}, DType::kI64), {}});
    return seen;
  }
  void add_masks(detection::Seen&) const override {}

 private:
  // [1, 4]: its corners as shares of the picture, around a quarter and three.
  Tensor box_of(const Tensor& picture) const {
    const Tensor colour = reshape(mean(picture.to(DType::kF32), {0, 1}), {1, 3});
    const Tensor corner = sigmoid(linear(affine(colour, 1.0 / 255), weight_, bias_));
    const auto w = static_cast<float>(picture.size(1)), h = static_cast<float>(picture.size(0));
    const Tensor size = Tensor::from<float>({w / 2, h / 2, w / 2, h / 2}, {1, 4}),
                 shift = Tensor::from<float>({0, 0, w / 2, h / 2}, {1, 4});
    return add(mul(corner, size), shift);
  }

  Tensor weight_, bias_;
  double of_loss_;
};

struct OneBoxSettings : DetectorSettings {
  double weight = 1;

  void declare(Settings& settings) override {
    settings.add("box-weight NUMBER", weight, "Weight of the loss of boxes").at_least(0);
  }
  MakeDetector make(const DetectorPlan& plan) const override {
    check(plan.classes == 1, ErrorKind::kUsage, "one box: expected one class, got {}", plan.classes);
    return [weight = weight](const Scope& scope, Device, DType) { return std::make_unique<OneBox>(scope, weight); };
  }
  bool learns_masks() const override { return false; }
  std::unique_ptr<DetectorSettings> clone() const override { return std::make_unique<OneBoxSettings>(*this); }
};

DetectorKind one_box() {
  return {"one-box",
          "a single box",
          [](const StateDict& state) -> MakeDetector {
            if (!state.contains("one_box.weight")) return {};
            return [](const Scope& scope, Device, DType) { return std::make_unique<OneBox>(scope, 1); };
          },
          [](const std::string&) { return false; },
          [](const StateDict& state) -> std::optional<Description> {
            if (!state.contains("one_box.weight")) return std::nullopt;
            Description description;
            description.architecture = "One box";
            description.facts = {{"boxes", "1"}};
            return description;
          },
          []() -> std::unique_ptr<DetectorSettings> { return std::make_unique<OneBoxSettings>(); }};
}

class DetectorDoor : public testing::Test {
 protected:
  DetectorDoor() { test::write_rectangles(folder_.path(), {{48, 64, 4, 36, 20, 52}, {48, 64, 8, 40, 20, 52}}); }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  TrainFiles files(const std::string& out) const {
    return {.annotations = at("truth.json"), .image_root = folder_.path().string(), .weights = {}, .out = at(out)};
  }
  static TrainConfig config() {
    TrainConfig config;
    config.detector.name = "one-box";
    config.augment.short_sides = {48};
    config.batch = config.reference_batch = 2;
    config.base_schedule.iterations = 30;
    config.base_schedule.steps = {30};
    config.base_schedule.warmup = 0;
    config.precise_bn = 0;
    config.copy_paste = false;
    config.output.log_every = 1;
    config.eval_annotations = {};
    return config;
  }

  test::TempDir folder_;
  const Registry<DetectorKind>::Add one_box_{one_box()};  // known to these tests alone
};

TEST_F(DetectorDoor, ASecondKindTrainsAndIsRecognisedFromItsCheckpoint) {
  TrainConfig training = config();
  training.detector.as<OneBoxSettings>().weight = 3;
  const TrainConfig copy = training;  // a value: what is changed later is not the copy's
  training.detector.as<OneBoxSettings>().weight = 1;
  const usol::Run run;
  ASSERT_EQ(run_training(run, copy, files("three")), kSuccess);
  ASSERT_EQ(run_training(run, training, files("one")), kSuccess);
  const auto three = test::read_metrics(folder_ / "three/metrics.json"),
             one = test::read_metrics(folder_ / "one/metrics.json");
  ASSERT_EQ(three.size(), 30u);
  EXPECT_NEAR(three[0]["loss_box"].get<double>(), 3 * one[0]["loss_box"].get<double>(), 1e-3);
  // A finished training is left as it is, and is not taken for one of other settings.
  usol::Run again;
  again.existing = Existing::kContinue;
  EXPECT_EQ(run_training(again, training, files("one")), kSuccess);
  TrainConfig other = training;
  other.base_schedule.learning_rate *= 2;
  EXPECT_THROW(run_training(again, other, files("one")), Error);
  double first = 0, last = 0;
  for (int i = 0; i < 5; ++i) {
    first += one[i]["loss_box"].get<double>();
    last += one[29 - i]["loss_box"].get<double>();
  }
  EXPECT_LT(last, 0.9 * first);

  const std::string weights = at("one/model_final.safetensors");
  const io::Checkpoint checkpoint = io::load_checkpoint(weights);
  const auto settings = Json::parse(checkpoint.metadata.at("info"))["settings"];
  EXPECT_EQ(settings["detector"], "one-box");
  EXPECT_EQ(settings["box-weight"], 1);
  EXPECT_FALSE(settings.contains("stages"));
  const Description described = describe_weights(checkpoint.tensors);
  EXPECT_EQ(described.architecture, "One box");
  EXPECT_THAT(described.facts, ElementsAre(Pair("boxes", "1")));
  EXPECT_THAT(described.missing, IsEmpty());
  EXPECT_THAT(described.unexpected, IsEmpty());

  for (const bool tta : {false, true}) {
    PredictJob job;
    job.inputs.inputs = {at("p0.png")};
    job.weights = weights;
    job.tta = tta;
    job.tta_views.short_sides = {24, 48};
    ASSERT_EQ(job.run(run, {.coco = at(tta ? "tta.json" : "found.json")}), kSuccess);
    const io::AnnotationSet found = io::read_coco(at(tta ? "tta.json" : "found.json"));
    ASSERT_EQ(found.annotations.size(), 1u);
    EXPECT_EQ(Json::parse(found.info_json)["detector"], "One box");
    const io::Box box = found.annotations[0].box;
    EXPECT_GT(box[2], 10);
    EXPECT_NEAR(box[0] + box[2] / 2, 32, 10);
  }
}

TEST_F(DetectorDoor, ASweepVariesItAndItsSettings) {
  SweepConfig sweeping;
  sweeping.parameters = {"box-weight=1,3", "detector=one-box"};  // what chooses it may come last
  sweeping.maskcut.inputs.inputs = {folder_.path().string()};
  sweeping.masks = sweeping.detector.eval_annotations = at("truth.json");
  sweeping.detector.eval_image_root = folder_.path().string();
  sweeping.out = at("sweep");
  sweeping.detector.base = config();
  sweeping.detector.base.detector.name = "rcnn";
  sweeping.detector.base.base_schedule.iterations = 2;
  const SweepResult result = sweep(sweeping, {});
  ASSERT_EQ(result.points.size(), 2u);
  double losses[2];
  for (const int p : {0, 1}) {
    EXPECT_EQ(result.points[p].objects, 2u);  // one box a picture
    const fs::path made = folder_ / "sweep" / result.points[p].point.name / "base/train/metrics.json";
    losses[p] = test::read_metrics(made)[0]["loss_box"].get<double>();
  }
  EXPECT_NEAR(losses[1], 3 * losses[0], 1e-3);
}

TEST_F(DetectorDoor, TheVerbOffersItsSettings) {
  const auto settings = cli::verb_settings("train", {"--detector", "one-box", "--box-weight", "2"});
  EXPECT_EQ(settings["detector"], "one-box");
  EXPECT_EQ(settings["box-weight"], 2);
  EXPECT_FALSE(settings.contains("arch") || settings.contains("droploss"));
  EXPECT_EQ(cli::verb_settings("train", {"--arch", "one-box", "--box-weight", "2"}), settings);
  for (const std::vector<std::string>& words : {std::vector<std::string>{"--detector", "one-box", "--stages", "3"},
                                                {"--arch", "two-boxes"},
                                                {"--detector", "one-box", "--arch", "resnet-fpn"},
                                                {"--detector", "one-box", "--no-droploss"},
                                                {"--box-weight", "1"}})
    EXPECT_THROW(cli::verb_settings("train", words), Error) << words.back();
  test::write_text(folder_ / "c.toml", "[train]\ndetector = \"one-box\"\nbox-weight = 4\n");
  TrainConfig read = TrainConfig::from_toml(at("c.toml"));
  EXPECT_EQ(read.detector.name, "one-box");
  EXPECT_EQ(read.detector.as<OneBoxSettings>().weight, 4);
  EXPECT_EQ(read.detector.as<RcnnSettings>().stages, 3);
}

TEST_F(DetectorDoor, AKindThatIsNotThereIsNamed) {
  TrainConfig training = config();
  training.detector.name = "two-boxes";
  EXPECT_THROW(run_training(usol::Run{}, training, files("none")), Error);
  struct OtherSettings : OneBoxSettings {};
  EXPECT_THROW(training.detector.as<OtherSettings>(), Error);
}

}  // namespace
}  // namespace usol
