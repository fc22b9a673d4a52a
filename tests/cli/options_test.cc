// Options: precedence of the four sources, checks of every value wherever it comes from, settings files read back.
#include "usol/cli/options.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace usol::cli {
namespace {

struct Example {
  double tau = 0.15;
  std::int64_t masks = 3;
  bool crf = true, quiet = false;
  std::string preset = "paper", mode = "k", out, config;
  std::vector<std::string> inputs;
  std::vector<double> levels = {1, 2.5};
  Options options{"usol example", "example", "An example"};

  Example() {
    options.positional("INPUT", inputs, "inputs");
    options.add("--tau", tau, "threshold");
    options.add("--masks", masks, "how many").between(1, 50);
    options.flag("--no-crf", crf, "without");
    options.flag("-q,--quiet", quiet, "less", OptionKind::kRun);
    options.choice("--mode", mode, {"k", "q"}, "which");
    options.add("--levels", levels, "levels");
    options.add("-o,--out", out, "output", OptionKind::kRun);
    options.add("--config", config, "settings", OptionKind::kRun);
    options.preset(preset, {{"paper", {}}, {"release", {{"tau", "0.5"}, {"masks", "7"}}}}, "preset");
    options.example("usol example a.jpg", "the example");
  }
};

class OptionsTest : public testing::Test {
 protected:
  void TearDown() override {
    for (const char* name : {"USOL_TAU", "USOL_CRF", "USOL_LEVELS", "USOL_MASKS", "USOL_CONFIG"}) unsetenv(name);
  }
  std::string config(const std::string& text) {
    test::write_text(folder_ / "c.toml", text);
    return folder_ / "c.toml";
  }
  test::TempDir folder_;
};

void expect_usage_error(const std::vector<std::string>& arguments, const std::string& part) {
  Example e;
  try {
    e.options.parse(arguments);
    ADD_FAILURE() << "accepted; expected an error with '" << part << "'";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST_F(OptionsTest, FlagBeatsEnvironmentBeatsFileBeatsPresetBeatsDefault) {
  {
    Example e;
    e.options.parse({});
    EXPECT_EQ(e.tau, 0.15);
    EXPECT_FALSE(e.options.given("tau"));
  }
  {
    Example e;
    e.options.parse({"--preset", "release"});
    EXPECT_EQ(e.tau, 0.5);
    EXPECT_EQ(e.masks, 7);
    EXPECT_FALSE(e.options.given("tau"));
  }
  const auto file = config("tau = 0.25\n[example]\nmasks = 4\npreset = \"release\"\n");
  {
    Example e;
    e.options.parse({"--config", file});
    EXPECT_EQ(e.tau, 0.25);
    EXPECT_EQ(e.masks, 4);
    EXPECT_EQ(e.preset, "release");
  }
  setenv("USOL_TAU", "0.35", 1);
  setenv("USOL_CONFIG", file.c_str(), 1);
  {
    Example e;
    e.options.parse({});
    EXPECT_EQ(e.tau, 0.35);
    EXPECT_EQ(e.masks, 4);
  }
  {
    Example e;
    e.options.parse({"--tau=0.45", "--preset", "paper"});
    EXPECT_EQ(e.tau, 0.45);
    EXPECT_EQ(e.preset, "paper");
    EXPECT_EQ(e.masks, 4);
    EXPECT_TRUE(e.options.given("tau"));
  }
}

TEST_F(OptionsTest, SwitchesListsAndPositionals) {
  setenv("USOL_LEVELS", "3,4", 1);
  Example e;
  e.options.parse({"a.jpg", "--no-crf", "b.jpg", "-q", "--", "-c.jpg"});
  EXPECT_EQ(e.inputs, (std::vector<std::string>{"a.jpg", "b.jpg", "-c.jpg"}));
  EXPECT_FALSE(e.crf);
  EXPECT_TRUE(e.quiet);
  EXPECT_EQ(e.levels, (std::vector<double>{3, 4}));
  Example f;
  f.options.parse({"--levels", "5,6", "--levels", "7", "a", "--crf"});
  EXPECT_EQ(f.levels, (std::vector<double>{5, 6, 7}));
  EXPECT_EQ(f.inputs, std::vector<std::string>{"a"});
  EXPECT_TRUE(f.crf);
  Example g;
  setenv("USOL_CRF", "0", 1);
  g.options.parse({});
  EXPECT_FALSE(g.crf);
}

TEST_F(OptionsTest, EveryBadValueIsAUsageErrorNamingItsSource) {
  expect_usage_error({"--nonsense"}, "--nonsense");
  expect_usage_error({"--tau"}, "--tau");
  expect_usage_error({"--tau", "x"}, "--tau: expected a number, got 'x'");
  expect_usage_error({"--tau", "nan"}, "--tau: expected a finite number");
  expect_usage_error({"--tau", "1", "--tau", "2"}, "--tau");
  expect_usage_error({"--masks", "2.5"}, "--masks: expected a whole number, got '2.5'");
  expect_usage_error({"--masks", "0"}, "--masks: expected at least 1, got 0");
  expect_usage_error({"--masks", "51"}, "--masks: expected at most 50, got 51");
  expect_usage_error({"--masks", "99999999999999999999"}, "--masks: expected a whole number");
  expect_usage_error({"--mode", "v"}, "--mode: expected one of k, q, got 'v'");
  expect_usage_error({"--levels", "1,,2"}, "--levels");
  expect_usage_error({"--preset", "other"}, "--preset: expected one of paper, release, got 'other'");
  expect_usage_error({"--config", folder_ / "absent.toml"}, "absent.toml: cannot be opened");
  expect_usage_error({"--config", config("tua = 1")}, "c.toml:1: unknown key 'tua'");
  expect_usage_error({"--config", config("[exmaple]\ntau = 1")}, "c.toml:2: unknown section [exmaple]");
  expect_usage_error({"--config", config("[example.deep]\ntau = 1")}, "c.toml:2: unknown key 'deep.tau'");
  expect_usage_error({"--config", config("config = \"other\"")}, "unknown key 'config'");
  expect_usage_error({"--config", config("tau = \"high\"")}, "c.toml:1: tau: expected a number, got 'high'");
  expect_usage_error({"--config", config("tau = [1, 2]")}, "c.toml:1: tau: expected one value, got 2");
  expect_usage_error({"--config", config("masks = 0"), "--masks", "2"}, "c.toml:1: masks: expected at least 1");
  setenv("USOL_MASKS", "many", 1);
  expect_usage_error({}, "USOL_MASKS: expected a whole number, got 'many'");
}

TEST_F(OptionsTest, PrintedConfigReadsBack) {
  Example e;
  e.options.parse({"a b.jpg", "c#d,\"e\".jpg", "--no-crf", "--tau", "0.1", "--levels", "1e-9", "--out", "x.json",
                   "--preset", "release"});
  const auto text = e.options.to_toml();
  Example f;
  f.options.parse({"--config", config(text)});
  EXPECT_EQ(f.options.to_toml(), text);
  EXPECT_EQ(f.inputs, e.inputs);
  EXPECT_EQ(f.tau, 0.1);
  EXPECT_EQ(f.masks, 7);
  EXPECT_FALSE(f.crf);
}

TEST_F(OptionsTest, SettingsHoldWhatChangesTheResultInOrder) {
  Example e;
  e.options.parse({"a.jpg", "--out", "x.json", "-q"});
  EXPECT_EQ(e.options.settings().dump(),
            R"({"tau":0.15,"masks":3,"crf":true,"mode":"k","levels":[1.0,2.5],"preset":"paper"})");
}

TEST_F(OptionsTest, HelpShowsDefaultsAndExamples) {
  Example e;
  EXPECT_FALSE(e.options.parse({"--help"}));
  const auto help = e.options.help();
  for (const char* part : {"An example", "INPUT", "--tau", "0.15", "k|q", "--no-crf", "usol example a.jpg"}) {
    EXPECT_NE(help.find(part), std::string::npos) << part << "\n" << help;
  }
}

// A number that the work settles where none is given: no default is shown, written or recorded.
TEST_F(OptionsTest, ANumberMayBeLeftOpen) {
  std::optional<double> open, given;
  Options unset("usol example", "example", "An example"), set("usol example", "example", "An example");
  unset.add("open NUMBER", open, "left open").between(0, 1);
  set.add("open NUMBER", given, "left open").between(0, 1);
  unset.parse({});
  EXPECT_FALSE(open.has_value());
  EXPECT_EQ(unset.settings().dump(), R"({"open":null})");
  EXPECT_EQ(unset.to_toml().find("open"), std::string::npos);
  EXPECT_EQ(unset.help().find("default"), std::string::npos);
  EXPECT_NE(unset.to_markdown().find("| `open` |  | 0 to 1 | left open |"), std::string::npos) << unset.to_markdown();
  set.parse({"--open", "0.25"});
  EXPECT_EQ(given, 0.25);
  EXPECT_EQ(set.settings().dump(), R"({"open":0.25})");
  EXPECT_NE(set.to_toml().find("open = 0.25\n"), std::string::npos);
  for (const char* wrong : {"lots", "1.5"}) EXPECT_THROW(unset.parse({"--open", wrong}), Error) << wrong;
}

// A choice whose alternatives have settings of their own, two of them of one name, and one with another choice in it.
struct Shapes {
  std::string shape = "round", edge = "sharp", later = "plain", config;
  double edge_width = 1, round_size = 2, square_size = 3, width = 0.5, height = 0.25;
  Options options{"usol shapes", "shapes", "Shapes"};

  Shapes() {
    options.add("width", width, "unchanged");
    options.choice("shape", shape, {"round", "square", "none"}, "which");
    options.when("shape", "round", [this](Settings& s) { s.add("size", round_size, "of the round one").at_most(10); });
    options.when("shape", "square", [this](Settings& s) {
      s.add("size", square_size, "of the square one").at_most(5);
      s.choice("edge", edge, {"sharp", "soft"}, "how it ends");
      s.when(
          "edge", "soft", [this](Settings& soft) { soft.add("edge-width", edge_width, "of the edge"); },
          Settings::Recorded::kAlways);
    });
    options.choice("later", later, {"fancy", "plain"}, "came later", OptionKind::kLater);
    options.add("height", height, "came later, too", OptionKind::kLater).at_least(0);
    options.add("config", config, "settings", OptionKind::kRun);
  }
};

std::string refusal_of(const std::vector<std::string>& arguments) {
  Shapes shapes;
  try {
    shapes.options.parse(arguments);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.what();
  }
  return "accepted";
}

TEST_F(OptionsTest, AnAlternativesSettingsAreItsOwn) {
  Shapes round, square;
  round.options.parse({"--size", "8"});
  EXPECT_EQ(round.round_size, 8);
  EXPECT_EQ(round.square_size, 3);
  EXPECT_TRUE(round.options.given("size"));
  EXPECT_EQ(round.options.text("size"), "8");
  EXPECT_EQ(round.options.settings().dump(), R"({"width":0.5,"shape":"round","size":8.0})");
  EXPECT_EQ(round.options.to_toml(),
            "# usol shapes settings\n[shapes]\nwidth = 0.5\nshape = \"round\"\nsize = 8\nlater = \"plain\"\n"
            "height = 0.25\n");
  // The choice may come from a weaker source than its setting, and stand after it.
  square.options.parse({"--size", "4", "--config", config("edge = \"soft\"\nedge-width = 2\nshape = \"square\"")});
  EXPECT_EQ(square.square_size, 4);
  EXPECT_EQ(square.round_size, 2);
  EXPECT_EQ(square.edge_width, 2);
  EXPECT_TRUE(square.options.uses("edge-width"));
  EXPECT_FALSE(round.options.uses("edge-width"));
  // Where all alternatives' settings are recorded, those of the one that is not chosen are, too; of settings that came
  // later what is not their default.
  Shapes all;
  all.options.parse({"--shape", "square", "--later", "fancy", "--height", "0.5"});
  EXPECT_EQ(
      all.options.settings().dump(),
      R"({"width":0.5,"shape":"square","size":3.0,"edge":"sharp","edge-width":1.0,"later":"fancy","height":0.5})");
  for (const char* part : {"With shape round:\n  --size NUMBER               of the round one (default 2)",
                           "With shape square:\n  --size NUMBER               of the square one (default 3)",
                           "With shape square, edge soft:\n  --edge-width NUMBER "})
    EXPECT_NE(Shapes().options.help().find(part), std::string::npos) << Shapes().options.help();
}

TEST_F(OptionsTest, WhatTheChosenAlternativeHasNotIsRefusedWhateverItsValue) {
  EXPECT_EQ(refusal_of({"--shape", "none", "--size", "2"}), "--size means nothing to shape none");
  EXPECT_EQ(refusal_of({"--shape", "square", "--edge-width", "1"}), "--edge-width means nothing to edge sharp");
  EXPECT_EQ(refusal_of({"--edge-width", "1"}), "--edge-width means nothing to shape round");
  EXPECT_EQ(refusal_of({"--edge", "sharp"}), "--edge means nothing to shape round");
  setenv("USOL_TAU", "1", 1);  // no setting of this verb
  EXPECT_EQ(refusal_of({"--shape", "none", "--config", config("width = 1\nsize = 4")}),
            folder_.path().string() + "/c.toml:2: size means nothing to shape none");
  // A settings file that says what is the default anyway, of any alternative: earlier versions wrote all settings.
  for (const char* usual : {"size = 2", "size = 3", "edge = \"sharp\"", "edge-width = 1"})
    EXPECT_EQ(refusal_of({"--shape", "none", "--config", config(usual)}), "accepted") << usual;
  EXPECT_EQ(refusal_of({"--shape", "none", "--size", "2", "--config", config("size = 2")}),
            "--size means nothing to shape none");
  // Bounds are those of the alternative.
  EXPECT_EQ(refusal_of({"--size", "8"}), "accepted");
  EXPECT_EQ(refusal_of({"--shape", "square", "--size", "8"}), "--size: expected at most 5, got 8");
  EXPECT_EQ(refusal_of({"--shape", "flat"}), "--shape: expected one of round, square, none, got 'flat'");
}

TEST_F(OptionsTest, TwoSettingsOfOneNameAreRefused) {
  Shapes shapes;
  double more = 0;
  EXPECT_THROW(shapes.options.add("width", more, "again"), Error);
  EXPECT_THROW(shapes.options.add("size", more, "of no shape"), Error);
  EXPECT_THROW(shapes.options.when("shape", "flat", [](Settings&) {}), Error);
  EXPECT_THROW(shapes.options.when("form", "round", [](Settings&) {}), Error);
}

}  // namespace
}  // namespace usol::cli
