// The page's frame: its slots, the files of report/page/ as they were embedded, and that these stand by themselves.
#include "usol/report/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/program_on_path.h"
#include "usol/report/page_files.h"
#include "usol/tensor/error.h"

namespace usol::report {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(Page, FilesAreThoseOfTheSourceTree) {
  EXPECT_EQ(page_html(), test::read_text(test::source_path("report/page/page.html")));
  EXPECT_EQ(page_css(), test::read_text(test::source_path("report/page/page.css")));
  EXPECT_EQ(page_js(), test::read_text(test::source_path("report/page/page.js")));
}

TEST(Page, FillsSlots) {
  const std::string_view page =
      "a <!--slot x-->sample <!--slot y-->inner<!--/slot y--><!--/slot x--> b <!--slot y--><!--/slot y-->";
  EXPECT_EQ(fill_page(page, {{"x", "<!--slot y-->"}, {"y", "2"}}), "a <!--slot y--> b 2");
  EXPECT_EQ(fill_page("no slot", {}), "no slot");
}

TEST(Page, RefusesSlotsWithoutTextOrEnd) {
  EXPECT_THROW(fill_page(page_html(), {{"title", "t"}}), Error);
  EXPECT_THROW(fill_page("<!--slot x-->sample", {{"x", "1"}}), Error);
  EXPECT_THROW(fill_page("<!--slot x", {{"x", "1"}}), Error);
}

TEST(Page, HoldsNothingOfTheSample) {
  const std::string start = report_page_start("TITLE", "SUMMARY", "NAV", "SECTIONS"),
                    end = report_page_end("{}", "END");
  EXPECT_THAT(start, StartsWith("<!DOCTYPE html>\n<html lang=\"en\">\n"));
  EXPECT_THAT(start, HasSubstr("<title>TITLE</title>\n<style>\n:root {"));
  EXPECT_THAT(start, HasSubstr("<h1>TITLE</h1>\n<p class=\"soft\">SUMMARY</p>"));
  EXPECT_THAT(start, testing::EndsWith("NAV</nav>\n</header>\nSECTIONS"));
  EXPECT_THAT(end, StartsWith("<script id=\"index\" type=\"application/json\">{}</script>\n<footer>END</footer>\n"
                              "<script>\n\"use strict\";\n"));
  EXPECT_THAT(end, testing::EndsWith("})();\n</script>\n</body>\n</html>\n"));
  const std::string gallery = report_gallery("RUNS", "PANELS");
  EXPECT_THAT(gallery, StartsWith("<section id=\"pictures\">"));
  EXPECT_THAT(gallery, HasSubstr("\n  RUNS\n"));
  EXPECT_THAT(gallery, HasSubstr(">PANELS</fieldset>"));
  for (const std::string& text : {start, end, gallery}) {
    EXPECT_THAT(text, Not(HasSubstr("slot ")));
    EXPECT_THAT(text, Not(HasSubstr("p0.png")));
    EXPECT_THAT(text, Not(HasSubstr("href=\"page.css\"")));
    EXPECT_THAT(text, Not(HasSubstr("src=\"page.js\"")));
  }
}

TEST(Page, ScriptIsValid) {
  const std::string node = test::program_on_path({"node"});
  if (node.empty()) GTEST_SKIP() << "no node on PATH (package nodejs): the page's script is not checked by itself";
  const auto checked = test::run_process({node, "--check", test::source_path("report/page/page.js")});
  EXPECT_EQ(checked.status, 0) << checked.err;
}

}  // namespace
}  // namespace usol::report
