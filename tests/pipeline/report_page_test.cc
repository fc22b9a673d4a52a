// The report page as a job, from C++.
#include "usol/pipeline/report_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/kept_log.h"
#include "tests/support/process.h"
#include "tests/support/report_case.h"
#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

using testing::HasSubstr;

class ReportPageTest : public testing::Test {
 protected:
  ReportPageTest() {
    test::write_report_case(folder_.path());
    config_.runs = {"first=" + at("a.json"), at("b.json")};
    config_.images = at("pictures");
    config_.annotations = at("truth.json");
  }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

  test::TempDir folder_;
  test::LoggedRun logged_;
  ReportConfig config_;
};

TEST_F(ReportPageTest, IsOneFile) {
  config_.title = "two methods";
  ASSERT_EQ(make_report(logged_.run, config_, at("deep/page.html")), kSuccess);
  const std::string page = test::read_text(folder_ / "deep/page.html");
  EXPECT_THAT(page, HasSubstr("two methods"));
  EXPECT_THAT(page, HasSubstr("first"));
  EXPECT_THAT(logged_.log->text(), HasSubstr("page.html: 4 pictures, "));
  config_.most = 2;
  ASSERT_EQ(make_report(logged_.run, config_, at("two.html")), kSuccess);
  EXPECT_THAT(logged_.log->text(), HasSubstr("the gallery shows 2 pictures of 4"));
  EXPECT_THROW(make_report({}, config_, at("two.html")), Error);  // exists
}

TEST_F(ReportPageTest, PicturesThatCannotBeShownAreListed) {
  fs::remove(folder_ / "pictures/p1.png");
  EXPECT_EQ(make_report(logged_.run, config_, at("page.html")), kSomeInputsFailed);
  EXPECT_THAT(logged_.log->text(), HasSubstr("1 pictures could not be shown:\n  "));
  EXPECT_THAT(logged_.log->text(), HasSubstr("p1.png"));
}

TEST_F(ReportPageTest, BadUsage) {
  ASSERT_EQ(make_report({.dry_run = true}, config_, at("page.html")), kSuccess);
  EXPECT_FALSE(fs::exists(folder_ / "page.html"));
  EXPECT_THROW(make_report({}, {}, at("page.html")), Error);
  EXPECT_THROW(make_report({.existing = Existing::kReplace}, config_, at("a.json")), Error);
  for (std::string ReportConfig::*path : {&ReportConfig::images, &ReportConfig::annotations, &ReportConfig::dump}) {
    ReportConfig wrong = config_;
    wrong.*path = at("none");
    EXPECT_THROW(make_report({}, wrong, at("page.html")), Error);
  }
  EXPECT_FALSE(fs::exists(folder_ / "page.html"));
}

}  // namespace
}  // namespace usol
