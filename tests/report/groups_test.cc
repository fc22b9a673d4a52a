// Rows of groups: what a file of groups says, which crops are shown, and that text from files is text on the page.
#include "usol/report/groups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/program_on_path.h"
#include "tests/support/report_case.h"
#include "tests/support/temp_dir.h"
#include "usol/report/page_files.h"
#include "usol/report/report.h"
#include "usol/tensor/error.h"

namespace usol::report {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(GroupRows, TheMostTypicalComeFirstThenTheLeastMargins) {
  const std::vector<GroupedObject> objects{{0, 0, 0.1, 0.0}, {1, 2, 0.5, 0.3},  {2, 1, 0.7, 0.05}, {3, 1, 0.9, 0.5},
                                           {4, 1, 0.8, 0.4}, {5, 1, 0.6, 0.01}, {6, 1, 0.5, 0.2},  {7, 2, 0.5, 0.1}};
  const std::vector<GroupRow> rows = group_rows(objects, 2, 2);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].group, 1);
  EXPECT_EQ(rows[0].objects, 5);
  EXPECT_THAT(rows[0].typical, ElementsAre(3, 4));
  EXPECT_THAT(rows[0].marginal, ElementsAre(5, 2));
  EXPECT_EQ(rows[1].group, 2);
  EXPECT_THAT(rows[1].typical, ElementsAre(1, 7));  // equal ones in the file's order
  EXPECT_TRUE(rows[1].marginal.empty());
  EXPECT_EQ(rows[2].group, 0);
  EXPECT_TRUE(group_rows({}, 2, 2).empty());
}

TEST(GroupRows, TextOfFilesIsTextOnThePage) {
  const std::string html = group_rows_html(
      {.rows = {{1, 1, {0}, {}}, {0, 2, {1, 2}, {}}}}, "<g>.json",
      [](std::size_t i) { return i == 2 ? "" : "data:\"x"; }, [](std::size_t) { return "<b>\"&.png"; });
  EXPECT_THAT(html, HasSubstr("title=\"&lt;b&gt;&quot;&amp;.png\""));
  EXPECT_THAT(html, HasSubstr("src=\"data:&quot;x\""));
  EXPECT_THAT(html, Not(HasSubstr("<b>\"&")));
  EXPECT_THAT(html, HasSubstr("<small>1 object</small> <input type=\"text\" data-group=\"1\""));
  EXPECT_THAT(html, HasSubstr("<small>2 objects</small> <input type=\"text\" data-group=\"other\""));
  EXPECT_THAT(html, HasSubstr("data-file=\"&lt;g&gt;.json\""));
  EXPECT_THAT(html, Not(HasSubstr("are not shown")));
  EXPECT_EQ(group_rows_html({}, {}, {}, {}), "");
}

TEST(GroupRows, ThoseThatAreLeftOutAreCounted) {
  const ShownGroups shown =
      first_groups({{1, 9, {}, {}}, {2, 7, {}, {}}, {3, 5, {}, {}}, {4, 2, {}, {}}, {0, 3, {}, {}}}, 2);
  ASSERT_EQ(shown.rows.size(), 3u);
  EXPECT_EQ(shown.rows[1].group, 2);
  EXPECT_EQ(shown.rows[2].group, 0);  // whatever the bound
  EXPECT_THAT(group_rows_html(shown, {}, {}, {}),
              HasSubstr("the 2 largest groups. 2 smaller ones, with 7 objects together, are not shown"));
  EXPECT_EQ(first_groups({{1, 9, {}, {}}, {2, 7, {}, {}}}, 2).groups, 0);
}

TEST(GroupRows, AreASectionOfThePage) {
  const test::TempDir folder;
  const std::string file = test::write_groups_case(folder.path());
  ReportSources sources = read_report_sources({file});
  ASSERT_EQ(sources.runs[0].groups.size(), 6u);
  EXPECT_EQ(sources.runs[0].groups[3].group, 2);
  EXPECT_EQ(sources.runs[0].groups[3].similarity, 0.7);
  ReportOptions options;
  options.picture = [&](const std::string& name) { return folder / "pictures" / name; };
  write_report(folder / "page.html", std::move(sources), options);
  const std::string page = test::read_text(folder / "page.html");
  EXPECT_THAT(page, HasSubstr("<section id=\"groups\">"));
  EXPECT_THAT(page, HasSubstr("<a href=\"#groups\">Groups</a>"));
  EXPECT_THAT(page, HasSubstr("p1.png: similarity 0.95, margin 0.20"));
  // Six crops, and the most typical of group 1 before the other one.
  std::size_t crops = 0;
  for (std::size_t at = page.find("<img class=\"typical\""); at != std::string::npos;
       at = page.find("<img class=\"typical\"", at + 1))
    ++crops;
  EXPECT_EQ(crops, 6u);
  EXPECT_LT(page.find("similarity 0.95"), page.find("similarity 0.90"));
  EXPECT_LT(page.find("data-group=\"2\""), page.find("data-group=\"other\""));
  // Without pictures there is nothing to name.
  write_report(folder / "bare.html", read_report_sources({file}), {});
  EXPECT_THAT(test::read_text(folder / "bare.html"), Not(HasSubstr("<section id=\"groups\">")));
}

TEST(GroupRows, FieldsMustBeThere) {
  const test::TempDir folder;
  const std::string file = test::write_groups_case(folder.path());
  std::string text = test::read_text(file);
  text.replace(text.find("\"margin\": 0.3"), 13, "\"margin\": null");
  test::write_text(file, text);
  try {
    read_report_sources({file});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("annotations[1] (id 2).margin: expected a number"));
  }
}

// The page's script on a page with three boxes and nothing else, as a person types: names, arrows, Enter, the button.
constexpr const char* kTyping = R"js(
const element = extra => Object.assign({value: "", textContent: "", focus() { focused = this; }, select() {}}, extra);
let focused = null, saved = "", name = "";
const boxes = ["1", "2", "other"].map(group => {
  const note = element({}), row = {scrollIntoView() {}, querySelector: () => note, classList: {toggle() {}}};
  return element({dataset: {group}, closest: () => row, note});
});
const button = element({}), named = element({}), rows = {dataset: {file: "g.json"}};
globalThis.addEventListener = () => {};
globalThis.document = {
  querySelectorAll: () => boxes,
  getElementById: id => ({"save-names": button, named, "group-rows": rows, index: {textContent: '{"pictures": []}'}})[id],
  createElement: () => ({click() { name = this.download; }}),
};
globalThis.Blob = class { constructor(parts) { saved = parts.join(""); } };
globalThis.URL = {createObjectURL: () => "blob:", revokeObjectURL() {}};
globalThis.setTimeout = () => 0;
eval(require("fs").readFileSync(process.argv[1], "utf8"));
const key = (box, key) => box.onkeydown({key, preventDefault() {}, stopPropagation() {}});
const steps = [];
boxes[0].value = "  guinea   pig\t";
boxes[0].oninput();
key(boxes[0], "Enter"); steps.push(boxes.indexOf(focused));
key(boxes[1], "ArrowDown"); steps.push(boxes.indexOf(focused));
key(boxes[2], "Enter"); steps.push(focused === button);
key(boxes[2], "ArrowUp"); steps.push(boxes.indexOf(focused));
key(boxes[1], "j"); steps.push(boxes.indexOf(focused));
boxes[2].value = "-";
boxes[2].oninput();
const said = named.textContent;
button.onclick();
console.log(JSON.stringify({steps, saved, name, said, next: named.textContent}));
)js";

TEST(GroupRows, NamesAreTypedAndSaved) {
  const std::string node = test::program_on_path({"node"});
  if (node.empty()) GTEST_SKIP() << "no node on PATH (package nodejs): the naming of groups is not tried";
  const auto typed = test::run_process({node, "-e", kTyping, test::source_path("report/page/page.js")});
  EXPECT_EQ(
      typed.out,
      "{\"steps\":[1,2,true,1,1],\"saved\":\"1, guinea pig\\nother, -\\n\",\"name\":\"names.txt\",\"said\":\"2 of 3 "
      "named, 1 category\",\"next\":\"saved. Now: usol group g.json --names names.txt --out named.json\"}\n")
      << typed.err;
}

}  // namespace
}  // namespace usol::report
