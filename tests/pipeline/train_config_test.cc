// What a C++ program gets that changes no member: the paper's settings, those of the settings files.
#include "usol/pipeline/train_config.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/golden.h"
#include "usol/pipeline/discover_methods.h"
#include "usol/pipeline/maskcut_job.h"
#include "usol/pipeline/predict_job.h"

namespace usol {
namespace {

template <class Config>
void expect_paper_without_a_preset(const std::string& section) {
  Config config;
  SettingsTable settings(section);
  config.declare(settings);
  const std::string untouched = settings.settings_text();
  settings.apply_preset();
  EXPECT_EQ(settings.settings_text(), untouched) << section;
}

TEST(Defaults, AreThoseOfThePaperWithoutAPreset) {
  expect_paper_without_a_preset<TrainConfig>("train");
  expect_paper_without_a_preset<MaskcutJob>("maskcut");
  expect_paper_without_a_preset<PredictJob>("predict");
  expect_paper_without_a_preset<DiscoverMethod>("discover");
}

TEST(TrainConfig, IsThePapersDetector) {
  const auto file = TrainConfig::from_toml(test::source_path("configs/cutler_cascade.toml"));
  EXPECT_EQ(settings_json(TrainConfig(), "train"), settings_json(file, "train"));
  const train::Schedule schedule = TrainConfig().schedule();
  EXPECT_EQ(schedule.steps, std::vector<std::int64_t>{80000});
  EXPECT_EQ(schedule.gamma, 0.2);
  EXPECT_EQ(TrainConfig().loading(0).augment.short_sides.size(), 10u);
}

TEST(TrainConfig, TheSettingsThatAreListsReachTheirParts) {
  TrainConfig config;
  config.base_schedule.steps = {100, 200};
  config.augment.short_sides = {320};
  config.batch = 32;
  config.base_schedule.warmup_factor = 0.5;
  EXPECT_EQ(config.schedule().steps, (std::vector<std::int64_t>{50, 100}));
  EXPECT_EQ(config.schedule().rate(0), 0.01 * 0.5);
  EXPECT_EQ(config.loading(0).augment.short_sides, std::vector<std::int64_t>{320});
}

// FreeSOLO's training pictures are off unless asked for, and none of a norm's statistics.
TEST(TrainConfig, ViewsBoxesAndPastesReachTheLoader) {
  TrainConfig config;
  EXPECT_FALSE(config.loading(0).strong_views.has_value());
  EXPECT_EQ(config.loading(0).boxes, train::TruthBoxes::kFile);
  EXPECT_FALSE(config.loading(0).copy_paste->any_number);
  config.views = "weak-and-strong";
  config.truth_boxes = "corners";
  config.paste_objects = "any";
  EXPECT_TRUE(config.loading(0).strong_views.has_value());
  EXPECT_EQ(config.loading(0).boxes, train::TruthBoxes::kCorners);
  EXPECT_TRUE(config.loading(0).copy_paste->any_number);
  EXPECT_FALSE(config.precise_loading(0).strong_views.has_value());
  EXPECT_FALSE(config.precise_loading(0).copy_paste.has_value());
}

// A count that is written with a point would be refused when it is read again.
TEST(Defaults, ListsOfWholeNumbersAreWrittenAsSuch) {
  TrainConfig config;
  SettingsTable settings("train");
  config.declare(settings);
  const std::string file = settings.to_toml();
  EXPECT_NE(file.find("\nshort-sides = [240, 320, 480, 640, 672, 704, 736, 768, 800, 1024]\n"), std::string::npos);
  EXPECT_NE(file.find("\nsteps = [80000]\n"), std::string::npos);
  EXPECT_NE(settings.settings_text().find("\"blocks\":[3,4,6,3]"), std::string::npos);
}

}  // namespace
}  // namespace usol
