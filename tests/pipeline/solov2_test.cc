// SOLOv2 behind the door of detectors, from a set of two pictures to its objects: trained, resumed, scored meanwhile,
// recognised from its checkpoint, predicted with, and in the loop of self-training.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/metrics.h"
#include "tests/support/process.h"
#include "tests/support/rectangles.h"
#include "tests/support/scenes.h"
#include "tests/support/temp_dir.h"
#include "usol/io/checkpoint.h"
#include "usol/io/coco.h"
#include "usol/io/rle.h"
#include "usol/models/describe.h"
#include "usol/models/fpn.h"
#include "usol/models/solov2/settings.h"
#include "usol/pipeline/predict_job.h"
#include "usol/pipeline/self_train.h"
#include "usol/pipeline/train_job.h"
#include "usol/tensor/error.h"
#include "usol/tensor/parallel.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

// A few channels, on pictures of 48 px.
TrainConfig tiny_solov2(const std::string& loss) {
  TrainConfig tiny;
  tiny.detector.name = "solov2";
  auto& solov2 = tiny.detector.as<Solov2Settings>();
  auto& resnet = solov2.backbone.as<ResNetFpnSettings>();
  resnet.blocks = {1, 1, 1, 1};
  resnet.resnet_channels = 16;
  resnet.norm = "SyncBN";
  solov2.channels = 8;
  solov2.instance_channels = solov2.mask_channels = solov2.kernel_channels = 32;
  solov2.instance_convolutions = 1;
  solov2.embedding = 4;
  solov2.loss = loss;
  tiny.augment.short_sides = {48};
  tiny.batch = tiny.reference_batch = 2;
  tiny.base_schedule.warmup = 0;
  tiny.precise_bn = 1;
  tiny.copy_paste = false;
  tiny.output.log_every = 1;
  return tiny;
}

class Solov2Door : public testing::Test {
 protected:
  Solov2Door() {
    set_thread_count(1);
    test::write_rectangles(folder_.path(), {{48, 64, 4, 36, 20, 52}, {48, 64, 8, 40, 20, 52}});
  }
  ~Solov2Door() override { set_thread_count(0); }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  TrainFiles files(const std::string& out) const {
    return {.annotations = at("truth.json"), .image_root = folder_.path().string(), .weights = {}, .out = at(out)};
  }
  TrainConfig steps(TrainConfig config, std::int64_t count) const {
    config.base_schedule.iterations = count;
    config.base_schedule.steps = {count};
    return config;
  }

  test::TempDir folder_;
};

TEST_F(Solov2Door, ATinySetIsLearnedAndFound) {
  TrainConfig config = steps(tiny_solov2("supervised"), 120);
  config.optimizer_name = "adamw";
  config.base_schedule.learning_rate = 0.004;
  config.augment.flip = 0;
  config.eval_annotations = at("truth.json");
  config.eval_image_root = folder_.path().string();
  config.eval_every = 0;
  config.eval_short_side = 48;
  ASSERT_EQ(run_training(usol::Run{}, config, files("out")), kSuccess);
  const auto metrics = test::read_metrics(folder_ / "out/metrics.json");
  const auto loss = [&](std::size_t step) { return metrics[step]["total_loss"].get<double>(); };
  EXPECT_LT(loss(119), 0.5 * loss(0));
  EXPECT_GT(metrics.back()["segm/AP50"].get<double>(), 50);
  EXPECT_GT(metrics.back()["bbox/AP50"].get<double>(), 50);

  const io::Checkpoint checkpoint = io::load_checkpoint(at("out/model_final.safetensors"));
  const Json settings = Json::parse(checkpoint.metadata.at("info"))["settings"];
  EXPECT_EQ(settings["detector"], "solov2");
  EXPECT_EQ(settings["loss"], "supervised");
  EXPECT_EQ(settings["norm"], "SyncBN");
  const Description described = describe_weights(checkpoint.tensors);
  EXPECT_EQ(described.architecture, "SOLOv2");
  EXPECT_TRUE(described.missing.empty() && described.unexpected.empty() && described.mismatched.empty());

  PredictJob job;
  job.inputs.inputs = {at("p0.png")};
  job.weights = at("out/model_final.safetensors");
  job.short_px = 48;
  job.score = 0.3;
  ASSERT_EQ(job.run(usol::Run{}, {.coco = at("found.json"), .overlays = at("look")}), kSuccess);
  const io::AnnotationSet found = io::read_coco(at("found.json"));
  ASSERT_GE(found.annotations.size(), 1u);
  EXPECT_EQ(Json::parse(found.info_json)["detector"], "SOLOv2");
  EXPECT_TRUE(fs::exists(at("look/p0.jpg")));
  const io::CocoAnnotation& best = found.annotations[0];
  const io::Rle mask = found.rle(best, 48, 64);
  EXPECT_EQ(best.box, io::rle_to_box(mask));
  const std::vector<io::Rle> one{mask}, truth{io::rle_from_box({20, 4, 32, 32}, 48, 64)};
  EXPECT_GT(io::rle_iou(one, truth).front(), 0.6);

  job.tta = true;
  try {
    job.run(usol::Run{}, {.coco = at("tta.json")});
    ADD_FAILURE() << "test-time augmentation was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("SOLOv2 finds masks of the whole picture"));
  }
}

TEST_F(Solov2Door, AResumedTrainingIsTheSameToTheBit) {
  for (const std::string loss : {"supervised", "freesolo"}) {
    TrainConfig config = steps(tiny_solov2(loss), 4);
    config.output.checkpoint_every = 2;
    config.output.keep = 5;
    config.detector.as<Solov2Settings>().pairwise_warmup = 3;
    ASSERT_EQ(run_training(usol::Run{}, config, files(loss)), kSuccess);
    const auto metrics = test::read_metrics(folder_ / loss / "metrics.json");
    EXPECT_EQ(metrics[0].contains("loss_pairwise"), loss == "freesolo");
    fs::create_directories(folder_ / (loss + "2"));
    test::write_text(folder_ / (loss + "2") / "metrics.json", test::read_text(folder_ / loss / "metrics.json"));
    fs::copy_file(folder_ / loss / "checkpoint_0000002.safetensors",
                  folder_ / (loss + "2") / "checkpoint_0000002.safetensors");
    usol::Run run;
    run.existing = Existing::kContinue;
    ASSERT_EQ(run_training(run, config, files(loss + "2")), kSuccess);
    EXPECT_EQ(test::read_text(folder_ / loss / "model_final.safetensors"),
              test::read_text(folder_ / (loss + "2") / "model_final.safetensors"))
        << loss;
  }
}

// FreeSOLO's loss of embeddings is there where the annotations have some, and changes no other loss.
TEST_F(Solov2Door, EmbeddingsOfTheAnnotationsReachTheLoss) {
  const auto losses = [&](const std::string& out, const std::string& preset, std::int64_t count) {
    TrainConfig config = steps(tiny_solov2("freesolo"), count);
    config.preset = preset;
    config.views = "weak-and-strong";
    config.copy_paste = true;
    config.optimizer_name = "adamw";
    config.base_schedule.learning_rate = 0.004;
    EXPECT_EQ(run_training(usol::Run{}, config, files(out)), kSuccess);
    return test::read_metrics(folder_ / out / "metrics.json");
  };
  const auto without = losses("without", "paper", 1).front();
  std::string text = test::read_text(at("truth.json"));
  const auto give = [&](const std::string& numbers) {
    std::string with = text;
    for (std::size_t at = 0; (at = with.find("\"category_id\": ", at)) != std::string::npos; at += 40)
      with.insert(at, "\"emb\": " + numbers + ", ");
    test::write_text(folder_ / "truth.json", with);
  };
  give("[0.5, -1, 2, 0.25]");
  const auto with = losses("with", "paper", 30);
  for (const char* name : {"loss_ins_max", "loss_ins", "loss_pairwise", "loss_cate"})
    EXPECT_EQ(with.front()[name], without[name]) << name;
  EXPECT_EQ(without["loss_emb"], 0);
  EXPECT_GT(with.front()["loss_emb"], 0.1);
  EXPECT_LT(with.front()["loss_emb"], 8);  // 4 (1 - cosine)
  EXPECT_LT(with[29]["loss_emb"], 0.5 * with.front()["loss_emb"].get<double>());
  EXPECT_EQ(losses("release", "release", 1).front()["loss_emb"], 0);
  give("[0.5, -1]");
  EXPECT_NO_THROW(losses("unread", "release", 1));
  EXPECT_THROW(losses("short", "paper", 1), Error);
}

TEST_F(Solov2Door, TheReleaseOfFreeSoloHasASpareOutput) {
  TrainConfig config = steps(tiny_solov2("freesolo"), 1);
  config.preset = "release";
  ASSERT_EQ(run_training(usol::Run{}, config, files("release")), kSuccess);
  const auto tensors = io::load_checkpoint(at("release/model_final.safetensors")).tensors;
  EXPECT_EQ(tensors.at("ins_head.cate_pred.weight").size(0), 2);
  const Description described = describe_weights(tensors);
  EXPECT_EQ(described.architecture, "FreeSOLO (SOLOv2)");
  EXPECT_TRUE(described.missing.empty() && described.unexpected.empty());
}

TEST_F(Solov2Door, TheLoopOfSelfTrainingRunsOnIt) {
  const test::SceneOptions options{.seed = 5, .short_px = 48, .long_px = 64, .most_objects = 3, .most_px = 40};
  test::write_scenes(folder_ / "scenes", options, 4);
  SelfTrainConfig config;
  config.image_root = at("scenes");
  config.out = at("loop");
  config.rounds = 1;
  config.thresholds = {0.3};
  config.maskcut.features.backbone = "colour";
  config.maskcut.features.size = 48;
  config.maskcut.features.patch = 6;
  config.base = steps(tiny_solov2("freesolo"), 3);
  config.base.group_size = 1;
  config.round = config.base;
  config.predict.short_px = 48;
  const SelfTrainResult result = self_train(config, {});
  EXPECT_EQ(result.status, kSuccess);
  EXPECT_TRUE(fs::exists(at("loop/round1/train/model_final.safetensors")));
}

}  // namespace
}  // namespace usol
