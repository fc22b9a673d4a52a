// The stages of MaskCut against the reference code (release) and a plain restatement of the paper's rules, bit for bit;
// then each rule, quirk and hard case by hand.
#include "usol/maskcut/cut.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/golden.h"
#include "usol/maskcut/components.h"
#include "usol/maskcut/partition.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

// Masks of all stages, u8 [stages, h, w], empty where a stage gave none: as the reference returns them.
std::vector<std::uint8_t> all_stages(const CutResult& result, int stages, const Size& frame) {
  const auto pixels = static_cast<std::size_t>(frame.height * frame.width);
  std::vector<std::uint8_t> masks(static_cast<std::size_t>(stages) * pixels, 0);
  for (const FrameMask& mask : result.masks) {
    const std::vector<std::uint8_t> values = mask.mask.to_vector<std::uint8_t>();
    std::copy(values.begin(), values.end(), masks.begin() + static_cast<std::ptrdiff_t>(mask.stage * pixels));
  }
  return masks;
}

TEST(Cut, MasksEqualTheReferenceBitForBit) {
  const std::map<std::string, Tensor> golden = test::load_golden("maskcut.safetensors");
  int release = 0, paper = 0;
  for (const auto& [name, value] : golden) {
    const std::size_t dot = name.rfind('.');
    const std::string kind = name.substr(dot + 1);
    if (kind == "features") continue;
    const Tensor features = golden.at(name.substr(0, dot) + ".features").to(DType::kF32);
    const Size frame{value.size(1), value.size(2)};
    for (const Eigensolver solver : {Eigensolver::kLanczos, Eigensolver::kDense}) {
      if (solver == Eigensolver::kDense && features.size(1) * features.size(2) > 256) continue;  // slow
      MaskCutOptions options;
      options.preset = kind == "release" ? Preset::kRelease : Preset::kPaper;
      options.eigensolver = solver;
      EXPECT_EQ(all_stages(cut_features(features, frame, options), options.masks, frame),
                value.to_vector<std::uint8_t>())
          << name;
    }
    ++(kind == "release" ? release : paper);
  }
  EXPECT_EQ(release, 16);
  EXPECT_EQ(paper, 18);
}

// Features of a picture drawn with letters: one direction a letter, blanks all alike.
Tensor drawn(const std::vector<std::string>& rows) {
  const auto height = static_cast<std::int64_t>(rows.size()), width = static_cast<std::int64_t>(rows[0].size());
  Tensor features = Tensor::zeros({27, height, width});
  float* out = features.mutable_data<float>();
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      const char c = rows[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)];
      const std::int64_t d = c == ' ' ? 0 : c - 'a' + 1;
      out[(d * height + y) * width + x] = 1;
    }
  return features;
}

std::vector<std::string> picture_of(const Tensor& mask) {
  const std::vector<std::uint8_t> values = mask.to_vector<std::uint8_t>();
  std::vector<std::string> rows(static_cast<std::size_t>(mask.size(0)));
  for (std::size_t i = 0; i < values.size(); ++i)
    rows[i / static_cast<std::size_t>(mask.size(1))] += values[i] != 0 ? '#' : '.';
  return rows;
}

CutResult cut_drawing(const std::vector<std::string>& rows, Preset preset, int masks = 3) {
  MaskCutOptions options;
  options.preset = preset;
  options.masks = masks;
  return cut_features(drawn(rows), {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(rows[0].size())},
                      options);
}

constexpr Preset kBoth[] = {Preset::kPaper, Preset::kRelease};

TEST(Cut, FindsTwoObjectsOneAfterTheOther) {
  const std::vector<std::string> rows{"          ",  //
                                      " aaa      ",  //
                                      " aaa  bb  ",  //
                                      "      bb  ",  //
                                      "          "};
  for (const Preset preset : kBoth) {
    const CutResult result = cut_drawing(rows, preset, 2);
    ASSERT_EQ(result.masks.size(), 2u);
    EXPECT_EQ(picture_of(result.masks[0].mask),
              (std::vector<std::string>{"..........", ".###......", ".###......", "..........", ".........."}));
    EXPECT_EQ(picture_of(result.masks[1].mask),
              (std::vector<std::string>{"..........", "..........", "......##..", "......##..", ".........."}));
    EXPECT_EQ(result.stages[0].outcome, StageOutcome::kAccepted);
    EXPECT_EQ(result.stages[0].seed, 11);
    EXPECT_FALSE(result.stages[0].degenerate);
    EXPECT_LT(result.stages[0].ncut, 0.001);
    EXPECT_GT(result.stages[0].eigenvector.data<double>()[11], 0);
  }
}

TEST(Cut, AOnePatchObject) {
  const std::vector<std::string> rows{"       ", "       ", "    a  ", "       "};
  for (const Preset preset : kBoth) {
    const CutResult result = cut_drawing(rows, preset, 1);
    ASSERT_EQ(result.masks.size(), 1u);
    EXPECT_EQ(picture_of(result.masks[0].mask), (std::vector<std::string>{".......", ".......", "....#..", "......."}));
  }
}

// Only the seed's component is the object.
TEST(Cut, KeepsTheSeedsComponent) {
  const std::vector<std::string> rows{"        ", " aa  aa ", " a   aa ", "        "};
  for (const Preset preset : kBoth) {
    const CutResult result = cut_drawing(rows, preset, 1);
    ASSERT_EQ(result.masks.size(), 1u);
    EXPECT_EQ(picture_of(result.masks[0].mask),
              (std::vector<std::string>{"........", ".##.....", ".#......", "........"}));
  }
}

TEST(Cut, NoStructureNoObject) {
  for (const Preset preset : kBoth) {
    for (const auto& rows : {std::vector<std::string>{"   ", "   ", "   "}, {" "}, {"    "}, {"abc", "def", "ghi"}}) {
      const CutResult result = cut_drawing(rows, preset);
      EXPECT_TRUE(result.masks.empty());
      ASSERT_EQ(result.stages.size(), 1u);
      EXPECT_EQ(result.stages[0].outcome, StageOutcome::kNoObject);
      EXPECT_FALSE(result.stages[0].eigenvector.defined());
    }
    // Features that are zero everywhere: every patch is painted out.
    MaskCutOptions options;
    options.preset = preset;
    EXPECT_TRUE(cut_features(Tensor::zeros({4, 6, 6}), {6, 6}, options).masks.empty());
  }
}

TEST(Cut, TinyMaps) {
  for (const Preset preset : kBoth) {
    // 1 x N: both ends are two corners each.
    const CutResult row = cut_drawing({"  a   "}, preset, 1);
    ASSERT_EQ(row.masks.size(), 1u);
    EXPECT_EQ(picture_of(row.masks[0].mask), (std::vector<std::string>{"..#..."}));
    const CutResult column = cut_drawing({" ", " ", "a", " "}, preset, 1);
    EXPECT_EQ(picture_of(column.masks[0].mask), (std::vector<std::string>{".", ".", "#", "."}));
    // 2 x 2: every patch is a corner; the one that differs is one corner.
    const CutResult square = cut_drawing({" a", "  "}, preset, 1);
    EXPECT_EQ(picture_of(square.masks[0].mask), (std::vector<std::string>{".#", ".."}));
  }
  // 1 x 2: the canonical vector is (+, -), a tie won by the first patch, which is two corners of the map.
  EXPECT_EQ(picture_of(cut_drawing({"ab"}, Preset::kRelease, 1).masks[0].mask), (std::vector<std::string>{"#."}));
  EXPECT_EQ(picture_of(cut_drawing({"ab"}, Preset::kPaper, 1).masks[0].mask), (std::vector<std::string>{".#"}));
}

// Two corners: paper takes the complement, release does not.
TEST(Cut, TwoCornersPartThePresets) {
  const std::vector<std::string> rows{"aa     ", "aa     ", "aa     ", "aa     "};
  EXPECT_EQ(picture_of(cut_drawing(rows, Preset::kRelease, 1).masks[0].mask)[0], "##.....");
  const CutResult paper = cut_drawing(rows, Preset::kPaper, 1);
  EXPECT_EQ(picture_of(paper.masks[0].mask)[0], "..#####");
  EXPECT_TRUE(paper.stages[0].complemented);
}

// A map of one row after the other.
Tensor map_of(const std::vector<double>& values, std::int64_t width) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size()) / width, width});
}

TEST(Partition, PatchesAtTheMeanAreForegroundInPaperAlone) {
  const Tensor x = map_of({0, 0, 0, 0, 8, 1, 0, 0, 0}, 3);  // mean 1
  EXPECT_EQ(picture_of(partition(x, Preset::kPaper).foreground), (std::vector<std::string>{"...", ".##", "..."}));
  EXPECT_EQ(picture_of(partition(x, Preset::kRelease).foreground), (std::vector<std::string>{"...", ".#.", "..."}));
}

TEST(Partition, ThePatchOfLargestMagnitudeIsInTheForeground) {
  // It is on the side of the smaller values, and no corner is on the other one.
  const Tensor x = map_of({-1, 2, -1, 2, -9, 2, -1, 2, -1}, 3);
  for (const Preset preset : kBoth) {
    const Partition split = partition(x, preset);
    EXPECT_TRUE(split.complemented);
    EXPECT_EQ(split.seed, 4);
    EXPECT_EQ(picture_of(split.foreground), (std::vector<std::string>{"#.#", ".#.", "#.#"}));
    EXPECT_EQ(picture_of(split.object), (std::vector<std::string>{"...", ".#.", "..."}));
  }
}

// The stages for eigenvectors that are given: `runs` has the first and the last patch of each stage's object, which
// lies in row 1 of a map of 10 rows.
CutResult cut_runs(const std::vector<std::pair<std::int64_t, std::int64_t>>& runs, std::int64_t width, Preset preset) {
  MaskCutOptions options;
  options.preset = preset;
  options.masks = static_cast<int>(runs.size());
  const Size grid{10, width};
  CutStages stages(PatchGraph(BitMatrix(10 * width), affinity_options(options)), grid, grid, options);
  for (const auto& [first, last] : runs) {
    if (!stages.wants_cut()) break;
    Tensor x = Tensor::zeros({1, 10 * width}, DType::kF64);
    x.slice(1, width + first, width + last + 1).fill(1);
    stages.step({.values = {0.5}, .vectors = x, .degenerate = {0}});
  }
  return stages.take();
}

TEST(Cut, AnObjectThatOverlapsTheOneBeforeByMoreThanHalfIsRejected) {
  for (const Preset preset : kBoth) {
    // IoU 4 / 8, which is not more. The mask is what the first one does not cover.
    const CutResult half = cut_runs({{1, 6}, {3, 8}}, 12, preset);
    EXPECT_EQ(half.stages[1].outcome, StageOutcome::kAccepted);
    ASSERT_EQ(half.masks.size(), 2u);
    EXPECT_EQ(picture_of(half.masks[0].mask)[1], ".######.....");
    EXPECT_EQ(picture_of(half.masks[1].mask)[1], ".......##...");
    // IoU 5 / 9.
    const CutResult more = cut_runs({{1, 7}, {3, 9}}, 12, preset);
    EXPECT_EQ(more.stages[1].outcome, StageOutcome::kOverlap);
    EXPECT_EQ(more.masks.size(), 1u);
  }
}

// 1 % of 250 patches are 2.5.
TEST(Cut, AnObjectOfALittleMoreThanOnePercentIsAccepted) {
  for (const Preset preset : kBoth) {
    EXPECT_EQ(cut_runs({{1, 6}, {10, 11}}, 25, preset).stages[1].outcome, StageOutcome::kSmall);
    EXPECT_EQ(cut_runs({{1, 6}, {10, 12}}, 25, preset).stages[1].outcome, StageOutcome::kAccepted);
  }
}

// Three equal groups have two equal eigenvalues. The answer is the documented one, flagged, whichever the solver.
TEST(Cut, EqualEigenvaluesAreFlagged) {
  const std::vector<std::string> rows{"aaabbbbccccc", "aaabbbbccccc", "aaabbbbccccc"};
  const std::vector<std::string> equal{"aaabbbccc", "aaabbbccc", "aaabbbccc"};
  for (const Preset preset : kBoth) {
    EXPECT_FALSE(cut_drawing(rows, preset, 1).stages[0].degenerate);
    MaskCutOptions options;
    options.preset = preset;
    options.masks = 1;
    const CutResult lanczos = cut_features(drawn(equal), {3, 9}, options);
    options.eigensolver = Eigensolver::kDense;
    const CutResult dense = cut_features(drawn(equal), {3, 9}, options);
    EXPECT_TRUE(lanczos.stages[0].degenerate);
    ASSERT_EQ(lanczos.masks.size(), dense.masks.size());
    for (std::size_t i = 0; i < lanczos.masks.size(); ++i)
      EXPECT_EQ(picture_of(lanczos.masks[i].mask), picture_of(dense.masks[i].mask));
  }
}

// A second object of at most 1 % of the map. paper ends there; release meets it again and rejects it again.
TEST(Cut, SmallObjectsAreRejectedFromTheSecondStageOn) {
  for (const Preset preset : kBoth) {
    std::vector<std::string> rows(10, std::string(10, ' '));
    rows[7][7] = 'b';
    EXPECT_EQ(cut_drawing(rows, preset).stages[0].outcome, StageOutcome::kAccepted);  // in the first stage it is fine
    rows[2][2] = rows[2][3] = 'a';
    const CutResult result = cut_drawing(rows, preset);
    EXPECT_EQ(result.stages[0].outcome, StageOutcome::kAccepted);
    EXPECT_EQ(result.stages[1].outcome, StageOutcome::kSmall);
    EXPECT_EQ(result.masks.size(), 1u);
    EXPECT_EQ(result.stages.size(), preset == Preset::kPaper ? 2u : 3u);
    rows[7][8] = 'b';
    rows[2][4] = 'a';
    EXPECT_EQ(cut_drawing(rows, preset).stages[1].outcome, StageOutcome::kAccepted);
  }
}

TEST(Cut, StopRuleAndNoObjectRejection) {
  const std::vector<std::string> rows{"          ", " aaa      ", " aaa  bb  ", "      bb  ", "          "};
  MaskCutOptions options;
  const CutResult all = cut_features(drawn(rows), {5, 10}, options);
  ASSERT_GE(all.stages.size(), 2u);
  options.stop_eigenvalue = all.stages[0].eigenvalue / 2;
  EXPECT_TRUE(cut_features(drawn(rows), {5, 10}, options).stages.empty());
  options.stop_eigenvalue = all.stages[0].eigenvalue * 1.01;
  EXPECT_EQ(cut_features(drawn(rows), {5, 10}, options).stages.size(),
            all.stages[1].eigenvalue > all.stages[0].eigenvalue * 1.01 ? 1u : all.stages.size());
  options.stop_eigenvalue.reset();
  options.max_ncut = all.stages[0].ncut / 2;
  const CutResult none = cut_features(drawn(rows), {5, 10}, options);
  EXPECT_TRUE(none.masks.empty());
  EXPECT_EQ(none.stages[0].outcome, StageOutcome::kNoObject);
}

TEST(Cut, DumpNamesEveryStage) {
  std::map<std::string, Tensor> seen;
  MaskCutOptions options;
  options.masks = 2;
  options.dump = [&](std::string_view name, const Tensor& value) { seen[std::string(name)] = value; };
  const CutResult result =
      cut_features(drawn({"          ", " aaa      ", " aaa  bb  ", "      bb  ", "          "}), {10, 20}, options);
  ASSERT_EQ(result.masks.size(), 2u);
  EXPECT_EQ(seen.at("K").shape(), (Shape{50, 27}));
  for (const std::string t : {"_1", "_2"}) {
    EXPECT_EQ(seen.at("W" + t).shape(), (Shape{50, 50}));
    EXPECT_EQ(seen.at("d" + t).shape(), (Shape{50}));
    EXPECT_EQ(seen.at("lambda" + t).numel(), 1);
    EXPECT_EQ(seen.at("x" + t).shape(), (Shape{5, 10}));
    EXPECT_EQ(seen.at("P" + t).shape(), (Shape{5, 10}));
    EXPECT_EQ(seen.at("M" + t).shape(), (Shape{5, 10}));
    EXPECT_EQ(seen.at("S" + t).shape(), (Shape{10, 20}));
  }
  // d = W 1, and (D - W) x = lambda D x.
  const std::vector<float> w = seen.at("W_2").to_vector<float>();
  const std::vector<double> d = seen.at("d_2").to_vector<double>(), x = seen.at("x_2").to_vector<double>();
  for (std::size_t i = 0; i < 50; ++i) {
    double row = 0, product = 0;
    for (std::size_t j = 0; j < 50; ++j) {
      row += w[i * 50 + j];
      product += w[i * 50 + j] * x[j];
    }
    EXPECT_NEAR(row, d[i], 1e-6);
    EXPECT_NEAR(d[i] * x[i] - product, seen.at("lambda_2").item() * d[i] * x[i], 1e-6);
  }
}

TEST(Cut, RefusesWhatItCannotTake) {
  const MaskCutOptions options;
  EXPECT_THROW(cut_features(Tensor(), {4, 4}, options), Error);
  EXPECT_THROW(cut_features(Tensor::zeros({3, 4}), {4, 4}, options), Error);
  EXPECT_THROW(cut_features(Tensor::zeros({3, 0, 4}), {4, 4}, options), Error);
  EXPECT_THROW(cut_features(Tensor::zeros({3, 4, 4}, DType::kF64), {4, 4}, options), Error);
  EXPECT_THROW(cut_features(Tensor::zeros({3, 4, 4}), {0, 4}, options), Error);
  EXPECT_THROW(cut_features(Tensor::full({3, 4, 4}, std::numeric_limits<double>::infinity()), {4, 4}, options), Error);
  MaskCutOptions bad;
  bad.masks = 0;
  EXPECT_THROW(cut_features(Tensor::zeros({3, 4, 4}), {4, 4}, bad), Error);
  bad.masks = 1;
  bad.tau = std::nan("");
  EXPECT_THROW(cut_features(Tensor::zeros({3, 4, 4}), {4, 4}, bad), Error);
}

TEST(Frame, SizesAndGrid) {
  EXPECT_EQ(working_size(375, 500, 480, 8, false), (Size{480, 480}));
  EXPECT_EQ(working_size(375, 500, 480, 8, true), (Size{416, 552}));  // 415.7 x 554.3
  EXPECT_EQ(working_size(1, 10000, 480, 16, true), (Size{16, 48000}));
  EXPECT_EQ(patch_grid({480, 480}, 8), (Size{60, 60}));
  EXPECT_EQ(patch_grid({500, 492}, 8), (Size{62, 62}));  // 62.5 and 61.5: halves go to the even number
  EXPECT_EQ(patch_grid({3, 480}, 8), (Size{1, 60}));
  EXPECT_THROW(working_size(0, 5, 480, 8, false), Error);
  EXPECT_THROW(working_size(5, 5, 0, 8, false), Error);
  EXPECT_THROW(patch_grid({5, 5}, 0), Error);
}

}  // namespace
}  // namespace usol::maskcut
