// `usol report` as a user runs it: what is on the page, what it needs, what is refused. (report_browser_test.cc looks
// at it through a browser.)
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/report_case.h"
#include "tests/support/temp_dir.h"
#include "usol/cli/verb.h"
#include "usol/io/image.h"
#include "usol/io/npy.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

using nlohmann::ordered_json;
using test::run_usol;
using testing::HasSubstr;
using testing::Not;

class ReportTest : public testing::Test {
 protected:
  void SetUp() override { test::write_report_case(folder_.path()); }

  test::ProcessResult report(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "report");
    return run_usol(arguments, {.directory = folder_.path().string()});
  }
  std::string page() { return test::read_text(folder_ / "page.html"); }
  // The JSON of a script element.
  static ordered_json element(const std::string& page, const std::string& id) {
    for (const std::string& head : {"<script type=\"application/json\" id=\"" + id + "\">",
                                    "<script id=\"" + id + "\" type=\"application/json\">"}) {
      const auto start = page.find(head);
      if (start == std::string::npos) continue;
      const auto from = start + head.size();
      return ordered_json::parse(page.substr(from, page.find("</script>", from) - from));
    }
    return nullptr;
  }

  test::TempDir folder_;
};

TEST_F(ReportTest, ShowsRunsAndTruthSideBySide) {
  const auto result =
      report({"first=a.json", "b.json", "--images", "pictures", "--annotations", "truth.json", "--out", "page.html"});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::string text = page();
  const ordered_json index = element(text, "index");
  EXPECT_EQ(index["runs"], ordered_json({"first", "b"}));
  ASSERT_EQ(index["pictures"].size(), 4u);
  // Name, size on the grid of outlines, objects of the truth, scores by run, objects found by run.
  EXPECT_EQ(index["pictures"][0], ordered_json::parse(R"(["p0.png", 427, 640, 2, [[0.9, 0.4], [0.8]], [2, 1]])"));
  EXPECT_EQ(index["pictures"][2], ordered_json::parse(R"(["sub/p2.png", 427, 640, 1, [[], [0.7]], [0, 0]])"));
  const ordered_json first = element(text, "p0");
  EXPECT_THAT(first["jpeg"].get<std::string>(), HasSubstr("data:image/jpeg;base64,"));
  EXPECT_EQ(first["truth"].size(), 2u);
  EXPECT_EQ(first["runs"][0].size(), 2u);
  EXPECT_EQ(first["runs"][0][0], first["truth"][0]) << "the same mask has the same outline";
  EXPECT_EQ(element(text, "p4"), nullptr);
  // The table has what usol eval says.
  const auto eval = run_usol({"eval", "--gt", "truth.json", "--pred", "a.json", "--pseudo-masks", "--out", "m.json"},
                             {.directory = folder_.path().string()});
  ASSERT_EQ(eval.status, 0) << eval.err;
  const auto metrics = ordered_json::parse(test::read_text(folder_ / "m.json"));
  EXPECT_THAT(text, HasSubstr(fmt::format("{:.1f}</td>", 100 * metrics["mask"]["AP50"].get<double>())));
  for (const char* part : {"id=\"compare\"", "id=\"spread\"", "id=\"curves\"", "first, IoU 0.50"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(text, Not(HasSubstr("id=\"training\"")));
}

TEST_F(ReportTest, NeedsNothingElse) {
  ASSERT_EQ(report({"a.json", "--images", "pictures", "--out", "page.html"}).status, 0);
  const std::string text = page();
  for (const char* outside : {"src=\"http", "href=\"http", "<link", "@import", "url(", "fetch(", "XMLHttp"})
    EXPECT_THAT(text, Not(HasSubstr(outside)));
  EXPECT_THAT(text, HasSubstr("lang=\"en\""));
  const std::string again = text;
  ASSERT_EQ(report({"a.json", "--images", "pictures", "--out", "page.html", "--force"}).status, 0);
  EXPECT_EQ(page(), again) << "the same input, the same bytes";
}

TEST_F(ReportTest, NamesCannotBreakThePage) {
  fs::copy_file(folder_ / "pictures/p0.png", folder_ / "pictures/<b>&\"'.png");
  auto set = ordered_json::parse(test::read_text(folder_ / "a.json"));
  set["images"][0]["file_name"] = "<b>&\"'.png";
  test::write_text(folder_ / "</script>.json", set.dump());
  const auto result = report({"<i>=</script>.json", "--images", "pictures", "--out", "page.html"});
  ASSERT_EQ(result.status, 0) << result.err;
  const std::string text = page();
  EXPECT_EQ(element(text, "index")["pictures"][0][0], "<b>&\"'.png");
  EXPECT_THAT(text, Not(HasSubstr("<i>")));
  EXPECT_THAT(text, Not(HasSubstr("<b>&")));
}

TEST_F(ReportTest, StaysWithinItsSize) {
  // Noise, which is what JPEG shrinks least.
  const std::string noise = test::write_noise_case(folder_ / "noise", 60);
  for (const char* mb : {"0.5", "2"}) {
    const auto result = report({noise, "--images", "noise", "--out", "page.html", "--page-mb", mb, "--force"});
    ASSERT_EQ(result.status, 0) << result.err;
    EXPECT_LE(static_cast<double>(fs::file_size(folder_ / "page.html")), std::stod(mb) * 1e6);
    EXPECT_GT(static_cast<double>(fs::file_size(folder_ / "page.html")), std::stod(mb) * 1e6 * 0.3);
  }
  ASSERT_EQ(report({noise, "--images", "noise", "--out", "page.html", "--most", "7", "--force"}).status, 0);
  const ordered_json index = element(page(), "index");
  ASSERT_EQ(index["pictures"].size(), 7u);
  EXPECT_EQ(index["pictures"][0][0], "n00.png");
  EXPECT_EQ(index["pictures"][6][0], "n51.png") << "evenly spread";
}

TEST_F(ReportTest, PicturesThatCannotBeShownAreListed) {
  fs::remove(folder_ / "pictures/p1.png");
  io::write_png(folder_ / "pictures/p3.png", Tensor::zeros({7, 9, 3}, DType::kU8));
  const auto result = report({"a.json", "--images", "pictures", "--out", "page.html"});
  EXPECT_EQ(result.status, kSomeInputsFailed);
  EXPECT_THAT(result.err, HasSubstr("p1.png"));
  EXPECT_THAT(result.err, HasSubstr("p3.png: is 9 x 7, but 60 x 40 in the annotations"));
  EXPECT_THAT(element(page(), "p1")["failed"].get<std::string>(), HasSubstr("p1.png"));
  EXPECT_EQ(element(page(), "p1")["runs"][0].size(), 1u) << "its masks are shown all the same";
}

TEST_F(ReportTest, ShowsEigenvectors) {
  Tensor x = Tensor::zeros({4, 6}, DType::kF64);
  x.mutable_data<double>()[3] = -1;  // the object's side is the small one
  Tensor p = Tensor::zeros({4, 6}, DType::kU8);
  p.mutable_data<std::uint8_t>()[3] = 1;
  fs::create_directories(folder_ / "stages/p0");
  io::save_npy(folder_ / "stages/p0/x_1.npy", x);
  io::save_npy(folder_ / "stages/p0/P_1.npy", p);
  ASSERT_EQ(report({"a.json", "--images", "pictures", "--dump", "stages", "--out", "page.html"}).status, 0);
  EXPECT_EQ(element(page(), "p0")["stages"].size(), 1u);
  EXPECT_EQ(element(page(), "p1")["stages"].size(), 0u);
  // Drawn with the object light: the same as if the sign had been the other.
  const auto before = element(page(), "p0")["stages"][0];
  x.mutable_data<double>()[3] = 1;
  io::save_npy(folder_ / "stages/p0/x_1.npy", x);
  ASSERT_EQ(report({"a.json", "--images", "pictures", "--dump", "stages", "--out", "page.html", "--force"}).status, 0);
  EXPECT_EQ(element(page(), "p0")["stages"][0], before);
}

TEST_F(ReportTest, TellsFilesByTheirContent) {
  test::write_text(
      folder_ / "training/metrics.json",
      R"({"iteration": 19, "total_loss": 2.5, "loss_mask": 0.7, "lr": 0.01, "time": 0.5, "data_time": 0.1})"
      "\n"
      R"({"iteration": 39, "total_loss": 2.0, "loss_mask": 0.6, "lr": 0.01, "time": 0.5, "data_time": 0.1})"
      "\n"
      R"({"iteration": 59, "tot)");  // cut short by a crash
  test::write_text(folder_ / "other.json", R"({"mask": {"AP": 0.123, "AP50": 0.25}, "info": {}})");
  test::write_text(folder_ / "rounds/round1/metrics.json", R"({"iteration": 19, "total_loss": 1.5})"
                                                           "\n");
  fs::create_directories(folder_ / "rounds/round2");
  fs::copy_file(folder_ / "a.json", folder_ / "rounds/round2/predictions.json");
  const auto result = report({"training", "other.json", "rounds", "--out", "page.html"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("without the folder of the pictures (images)"));
  const std::string text = page();
  for (const char* part : {"id=\"training\"", "total_loss", "loss_mask", "id=\"time\"", "waiting for data",
                           ">12.3</td>", ">25.0</td>", "rounds/round1", "rounds/round2"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(text, Not(HasSubstr("id=\"pictures\"")));
}

TEST_F(ReportTest, ShowsRoundsOfSelfTraining) {
  const auto line = [](double loss) { return fmt::format("{{\"iteration\": 19, \"total_loss\": {}}}\n", loss); };
  auto stages = ordered_json::array();
  const auto stage = [&](const std::string& name, const std::string& file) {
    stages.push_back({{"name", name}, {"output", name + "/" + file}});
    fs::create_directories(folder_ / "loop" / name);
    return folder_ / "loop" / name / file;
  };
  fs::copy_file(folder_ / "a.json", stage("masks", "masks.json"));
  for (const std::string round : {"base", "round1"}) {
    test::write_text(stage(round + "/train", "model_final.safetensors").parent_path() / "metrics.json", line(2.5));
    fs::copy_file(folder_ / "b.json", stage(round + "/eval-predict", "predictions.json"));
    test::write_text(stage(round + "/eval", "metrics.json"), R"({"mask": {"AP": 0.111}, "box": {"AP": 0.222}})");
  }
  fs::copy_file(folder_ / "b.json", stage("round1/merge", "masks.json"));
  test::write_text(folder_ / "loop/manifest.json", ordered_json{{"usol_self_train", 1}, {"stages", stages}}.dump());
  ASSERT_EQ(report({"loop", "--images", "pictures", "--out", "page.html"}).status, 0);
  EXPECT_EQ(element(page(), "index")["runs"], ordered_json({"loop/masks", "loop/round1/masks"}));
  for (const char* part : {">11.1</td>", "loop/base", "id=\"training\""}) EXPECT_THAT(page(), HasSubstr(part));
  ASSERT_EQ(
      report({"loop", "--images", "pictures", "--annotations", "truth.json", "--out", "page.html", "--force"}).status,
      0);
  EXPECT_EQ(element(page(), "index")["runs"], ordered_json({"loop/base", "loop/round1"}));
  EXPECT_THAT(page(), Not(HasSubstr(">11.1</td>"))) << "scored anew, against this truth";
}

TEST_F(ReportTest, ListsOfResultsNeedTheTruth) {
  const ordered_json set = ordered_json::parse(test::read_text(folder_ / "a.json"));
  test::write_text(folder_ / "results.json", set["annotations"].dump());
  const auto without = report({"results.json", "--images", "pictures", "--out", "page.html"});
  EXPECT_EQ(without.status, kBadUsage);
  EXPECT_THAT(without.err, HasSubstr("as annotations"));
  ASSERT_EQ(
      report({"results.json", "--images", "pictures", "--annotations", "truth.json", "--out", "page.html"}).status, 0);
  EXPECT_EQ(element(page(), "index")["pictures"].size(), 4u);
}

TEST_F(ReportTest, RefusesWhatMakesNoSense) {
  test::write_text(folder_ / "neither.json", "{\"a\": 1}");
  fs::create_directories(folder_ / "empty");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"--out", "x.html"}, "nothing to report on"},
      {{"a.json"}, "--out FILE is missing"},
      {{"none.json", "--out", "x.html"}, "none.json: no such file"},
      {{"neither.json", "--out", "x.html"}, "neither annotations nor"},
      {{"empty", "--out", "x.html"}, "holds none of masks.json"},
      {{"a.json", "--out", "x.html", "--images", "nowhere"}, "nowhere: no such folder"},
      {{"a.json", "--out", "x.html", "--annotations", "nowhere"}, "nowhere: no such file"},
      {{"a.json", "--out", "truth.json"}, "truth.json exists"},
      {{"a.json", "--out", "empty"}, "is a folder"},
      {{"a.json", "--out", "x.html", "--page-mb", "0"}, "at least 0.5"},
  };
  for (const auto& [arguments, message] : cases) {
    const auto result = report(arguments);
    EXPECT_EQ(result.status, kBadUsage) << message;
    EXPECT_THAT(result.err, HasSubstr(message));
  }
  EXPECT_FALSE(fs::exists(folder_ / "x.html"));
  ASSERT_EQ(report({"a.json", "--out", "x.html", "--dry-run"}).status, 0);
  EXPECT_FALSE(fs::exists(folder_ / "x.html"));
}

}  // namespace
}  // namespace usol::cli
