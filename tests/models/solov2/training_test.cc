// SOLOv2's, FreeSOLO's and BoxInst's targets, losses and gradients against the public code.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/models/solov2/golden_model.h"
#include "tests/support/op_case.h"
#include "tests/support/thread_ranks.h"
#include "usol/autograd/tape.h"
#include "usol/models/solov2/colour_pairs.h"
#include "usol/models/solov2/settings.h"
#include "usol/models/solov2/targets.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

constexpr std::int64_t kStep = 299, kBoxInstStep = 2999;  // as in the scripts

TEST(Solov2Targets, MasksShrinkAsOpenCvShrinksThem) {
  for (const std::string n : {"0", "1", "2", "3"}) {
    const Tensor from = solov2_at("shrink_from_" + n), to = solov2_at("shrink_to_" + n);
    const Size size{from.size(1), from.size(2)};
    for (std::int64_t i = 0; i < from.size(0); ++i)
      EXPECT_EQ(solov2::quarter_mask(from.select(0, i).contiguous().data<std::uint8_t>(), size, size.width),
                to.select(0, i).contiguous().to_vector<std::uint8_t>())
          << n << " " << i;
  }
}

// The targets of a run against those of the public code, whose names begin with `prefix`; how many rows there are.
std::int64_t expect_targets(const std::string& run, const std::map<std::string, Tensor>& golden,
                            const std::string& prefix) {
  const solov2::Config config = golden_solov2_config(run);
  const auto targets =
      solov2::make_targets(solov2_truths(run), sizes_of(solov2_pictures()), {24, 32}, config, Device{});
  std::int64_t rows = 0;
  for (std::size_t l = 0; l < targets.size(); ++l) {
    const std::string n = std::to_string(l);
    const std::int64_t cells = config.levels[l].grid * config.levels[l].grid;
    EXPECT_EQ(targets[l].classes.to_vector<std::int64_t>(),
              golden.at(prefix + "target_classes_" + n).to_vector<std::int64_t>())
        << l;
    std::vector<std::int64_t> expected = golden.at(prefix + "target_cells_" + n).to_vector<std::int64_t>();
    for (std::int64_t& cell : expected) cell = cell / 1000 * cells + cell % 1000;
    EXPECT_EQ(targets[l].cell_of.to_vector<std::int64_t>(), expected) << l;
    const Tensor masks = golden.at(prefix + "target_masks_" + n);
    EXPECT_EQ(targets[l].size(), masks.size(0)) << l;
    if (targets[l].size() != masks.size(0)) continue;
    const auto of = targets[l].mask_of.to_vector<std::int64_t>();
    for (std::size_t r = 0; r < of.size(); ++r)
      EXPECT_EQ(targets[l].masks.select(0, of[r]).contiguous().to_vector<std::uint8_t>(),
                masks.select(0, static_cast<std::int64_t>(r)).contiguous().to_vector<std::uint8_t>())
          << l << " row " << r;
    rows += targets[l].size();
  }
  return rows;
}

TEST(Solov2Targets, CellsAndMasksAreTheReferences) {
  EXPECT_GT(expect_targets("solov2", golden_solov2(), "solov2/"), 20);
}

TEST(BoxInstTargets, CellsAndBoxesAreTheReferences) { EXPECT_GT(expect_targets("boxinst", golden_boxinst(), ""), 20); }

TEST(BoxInstTargets, ABoxWithoutAreaIsLeftOut) {
  const auto rows_of = [](const std::vector<float>& box) {
    const std::vector<detection::Truths> truths{{Tensor::from(box, {1, 4}), Tensor::zeros({1}, DType::kI64), {}}};
    std::int64_t rows = 0;
    for (const auto& level :
         solov2::make_targets(truths, {{96, 128}}, {24, 32}, golden_solov2_config("boxinst"), Device{}))
      rows += level.size();
    return rows;
  };
  EXPECT_GT(rows_of({20, 30, 50, 60}), 0);
  EXPECT_EQ(rows_of({20, 30, 20, 60}), 0);
  EXPECT_EQ(rows_of({20, 30, 50, 30}), 0);
  EXPECT_EQ(rows_of({50, 60, 20, 30}), 0);
}

TEST(Solov2Targets, Errors) {
  const solov2::Config config = golden_solov2_config("solov2");
  const std::vector<Size> sizes = sizes_of(solov2_pictures());
  auto truths = solov2_truths("solov2");
  truths[0].masks = {};
  EXPECT_THROW(solov2::make_targets(truths, sizes, {24, 32}, config, Device{}), Error);
  truths = solov2_truths("solov2");
  truths[1].classes.fill(3);
  EXPECT_THROW(solov2::make_targets(truths, sizes, {24, 32}, config, Device{}), Error);
}

TEST(ColourPairs, AreTheReferences) {
  const auto truths = solov2_truths("freesolo");
  const auto pairs = solov2::colour_pairs(solov2_pictures(), {truths[0].file_height, truths[1].file_height}, {24, 32},
                                          0.3, 10, Device{});
  // The reference's order of the eight neighbours of a cell: row by row, without the cell itself.
  constexpr int kOf[] = {4, 5, 6, 7}, kOpposite[] = {3, 2, 1, 0};
  for (std::int64_t n = 0; n < 2; ++n) {
    const Tensor expected = solov2_at("similar_" + std::to_string(n));
    for (std::size_t d = 0; d < pairs.size(); ++d) {
      const auto [dy, dx] = solov2::kPairDirections[d];
      const std::int64_t h = 24 - dy, w = 32 - std::abs(dx);
      const auto first = pairs[d].from_first.select(0, n).contiguous().to_vector<float>();
      const auto second = pairs[d].from_second.select(0, n).contiguous().to_vector<float>();
      const auto there = [&](int neighbour, bool is_second) {
        const std::int64_t y = is_second ? dy : 0;
        const std::int64_t x = is_second ? std::max<std::int64_t>(0, dx) : std::max<std::int64_t>(0, -dx);
        return expected.select(0, neighbour).slice(0, y, y + h).slice(1, x, x + w).to(DType::kF32).contiguous();
      };
      EXPECT_EQ(first, there(kOf[d], false).to_vector<float>()) << n << " " << d;
      EXPECT_EQ(second, there(kOpposite[d], true).to_vector<float>()) << n << " " << d;
    }
  }
  // White, and a red whose numbers are known.
  EXPECT_NEAR(solov2::lab_of({255, 255, 255})[0], 100, 1e-3);
  EXPECT_NEAR(solov2::lab_of({255, 0, 0})[1], 80.09, 0.02);
}

Tensor total(const detection::Losses& losses) {
  Tensor sum;
  for (const auto& [name, loss] : losses) sum = sum.defined() ? add(sum, loss) : loss;
  return sum;
}

// A run of the public code: its file, what names there begin with, the step that it stands for.
struct Reference {
  const std::map<std::string, Tensor>& golden;
  std::string prefix;
  std::int64_t step = kStep;
  std::size_t losses = 5;
};

// Losses within 1e-5, gradients within 1e-3 of each one's largest value. Returns how many gradients were compared.
int expect_run(const std::string& run, const Reference& reference, const solov2::Config& config) {
  const GoldenSolov2 golden(run, config);
  const detection::Losses losses =
      golden.model.losses(solov2_pictures(), solov2_truths(run), {Generator(0), 0, reference.step}, {.training = true});
  EXPECT_EQ(losses.size(), reference.losses);
  for (const auto& [name, loss] : losses) {
    const double expected = reference.golden.at(reference.prefix + name).item();
    EXPECT_NEAR(loss.item(), expected, 1e-5 * std::max(1.0, std::abs(expected))) << name;
  }
  backward(total(losses));
  int compared = 0;
  for (const auto& [name, entry] : golden.store.entries()) {
    const auto expected = reference.golden.find(reference.prefix + "grad/" + name);
    if (expected == reference.golden.end()) continue;
    EXPECT_TRUE(grad(entry.tensor).defined()) << name;
    if (grad(entry.tensor).defined()) {
      EXPECT_LE(relative_error(grad(entry.tensor), expected->second), 1e-3) << name;
    }
    ++compared;
  }
  return compared;
}

TEST(Solov2Training, SupervisedLossesAndEveryGradient) {
  EXPECT_GT(expect_run("solov2", {golden_solov2(), "solov2/", kStep, 2}, golden_solov2_config("solov2")), 60);
}

TEST(FreeSoloTraining, PaperLossesAndEveryGradient) {
  EXPECT_GT(expect_run("freesolo", {golden_solov2(), "freesolo/paper/"}, golden_solov2_config("freesolo")), 60);
}

TEST(FreeSoloTraining, ReleaseLeavesTheEmbeddingOut) {
  solov2::Config config = golden_solov2_config("freesolo");
  config.losses.embedding_weight = 0;
  EXPECT_GT(expect_run("freesolo", {golden_solov2(), "freesolo/release/"}, config), 6);
}

TEST(BoxInstTraining, LossesAndEveryGradient) {
  EXPECT_GT(expect_run("boxinst", {golden_boxinst(), "", kBoxInstStep, 3}, golden_solov2_config("boxinst")), 60);
}

TEST(BoxInstTraining, MasksAreNotLookedAt) {
  const GoldenSolov2 golden("boxinst");
  const auto losses = [&](const std::vector<detection::Truths>& truths) {
    return golden.model.losses(solov2_pictures(), truths, {Generator(0), 0, kBoxInstStep}, {});
  };
  std::vector<detection::Truths> truths = solov2_truths("solov2");
  const detection::Losses with = losses(truths);
  for (detection::Truths& truth : truths) truth.masks = {};
  for (const auto& [name, loss] : losses(truths)) EXPECT_EQ(loss.item(), with.at(name).item()) << name;
}

// What the golden pictures are too small or too empty to show. Source: FreeSOLO's and AdelaiDet's configs.
TEST(Solov2Config, DefaultsAreThePublished) {
  EXPECT_EQ(solov2::LossOptions().bottom_px, 10);
  EXPECT_EQ(solov2::FindingOptions().category_score, 0.1);
}

TEST(Solov2Training, ThePairwiseLossGrows) {
  for (const auto& [run, steps] : {std::pair<std::string, std::int64_t>{"freesolo", 1000}, {"boxinst", 10000}}) {
    const GoldenSolov2 golden(run);
    const auto at_step = [&golden, &run = run](std::int64_t step) {
      return golden.model.losses(solov2_pictures(), solov2_truths(run), {Generator(0), 0, step}, {})
          .at("loss_pairwise")
          .item();
    };
    EXPECT_NEAR(at_step(steps - 1), 2 * at_step(steps / 2 - 1), 1e-6) << run;
    EXPECT_EQ(at_step(5 * steps), at_step(steps - 1)) << run;
  }
}

TEST(Solov2Training, NoObjectsAtAll) {
  for (const std::string run : {"solov2", "freesolo", "boxinst"}) {
    const GoldenSolov2 golden(run);
    std::vector<detection::Truths> none;
    for (const Size& size : sizes_of(solov2_pictures()))
      none.push_back({Tensor::zeros({0, 4}), Tensor::zeros({0}, DType::kI64),
                      Tensor::zeros({0, size.height, size.width}, DType::kU8)});
    const detection::Losses losses = golden.model.losses(solov2_pictures(), none, {Generator(0)}, {.training = true});
    for (const auto& [name, loss] : losses) {
      if (name == "loss_cate")
        EXPECT_GT(loss.item(), 0);
      else
        EXPECT_EQ(loss.item(), 0) << name;
    }
    backward(total(losses));
    for (const auto& [name, entry] : golden.store.entries()) {
      if (entry.kind == ParamStore::Kind::kParameter) {
        EXPECT_TRUE(grad(entry.tensor).defined()) << name;
      }
    }
  }
}

// Each of two processes has one picture: their losses add up to those of the batch.
TEST(Solov2Training, LossesOfRanksAddUp) {
  for (const std::string run : {"solov2", "freesolo", "boxinst"}) {
    const GoldenSolov2 golden(run);
    const auto losses_of = [&](const std::vector<Tensor>& pictures, const std::vector<detection::Truths>& truths,
                               Communicator* ranks) {
      return golden.model.losses(pictures, truths, {Generator(0), 0, kStep}, {.training = true, .ranks = ranks});
    };
    const auto whole = losses_of(solov2_pictures(), solov2_truths(run), nullptr);
    std::array<detection::Losses, 2> shares;
    ThreadRanks::run(2, [&](ThreadRanks::Rank& rank) {
      const auto own = static_cast<std::size_t>(rank.rank());
      shares[own] = losses_of({solov2_pictures()[own]}, {solov2_truths(run)[own]}, &rank);
    });
    for (const auto& [name, loss] : whole)
      EXPECT_NEAR(shares[0].at(name).item() + shares[1].at(name).item(), loss.item(), 1e-5) << run << " " << name;
  }
}

TEST(Solov2Training, APredictionThatIsNotFiniteIsDivergence) {
  const GoldenSolov2 golden("solov2");
  Tensor bias = golden.store.entries().at("ins_head.cate_pred.bias").tensor;
  bias.fill(std::nan(""));
  EXPECT_THROW(golden.model.losses(solov2_pictures(), solov2_truths("solov2"), {Generator(0)}, {.training = true}),
               detection::Diverged);
}

TEST(Solov2Training, SettingsThatDoNotFitAreRefused) {
  Solov2Settings settings;
  settings.loss = "freesolo";
  EXPECT_THROW(settings.make({.classes = 2}), Error);
  EXPECT_NO_THROW(settings.make({.classes = 1}));
  settings.mask_channels = 40;
  EXPECT_THROW(settings.make({.classes = 1}), Error);
  settings.mask_channels = 128;
  settings.backbone.name = "resnet-c4";  // one map
  try {
    settings.make({.classes = 1});
    ADD_FAILURE() << "a backbone without a pyramid was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
  }
}

TEST(Solov2Training, BoxInstLearnsAnyNumberOfClassesFromBoxes) {
  Solov2Settings settings;
  EXPECT_TRUE(settings.learns_masks() && settings.finds_masks());
  settings.loss = "boxinst";
  EXPECT_FALSE(settings.learns_masks());
  EXPECT_TRUE(settings.finds_masks());
  EXPECT_NO_THROW(settings.make({.classes = 80}));
}

}  // namespace
}  // namespace usol::test
