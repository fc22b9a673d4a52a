// The report's page in a browser: its script, its keys and its filters, in headless Chromium. Skipped where there is
// none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/program_on_path.h"
#include "tests/support/report_case.h"
#include "tests/support/temp_dir.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

using nlohmann::ordered_json;

std::string chromium() { return test::program_on_path({"chromium", "chromium-browser", "google-chrome"}); }

// What the page shows, read after each step of a user. Timers run in virtual time, so this takes no waiting.
constexpr const char* kLooking = R"js(
  const seen = [], $ = id => document.getElementById(id), pause = () => new Promise(done => setTimeout(done, 100));
  const look = () => ({
    cards: [...document.querySelectorAll(".card b")].map(b => b.textContent),
    masks: document.querySelectorAll("#grid path.mask").length,
    panels: document.querySelectorAll("#grid .panel svg").length,
    chosen: $("chosen").textContent,
    focus: document.activeElement.id ||
           (document.activeElement.matches(".card") ? document.activeElement.querySelector("b").textContent : ""),
    large: $("large").open ? $("which").textContent : "",
  });
  const step = async action => { action(); await pause(); seen.push(look()); };
  const key = name => () => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
  const set = (id, value) => () => { $(id).value = value; $(id).dispatchEvent(new Event("input")); };
  await pause();
  seen.push(look());
  await step(set("score", "0.5"));
  await step(set("count", "0"));
  await step(set("run", "1"));
  await step(() => { set("score", "0")(); set("count", "")(); set("run", "0")(); });
  await step(set("order", "many"));
  await step(set("order", "missed"));
  await step(set("order", "given"));
  await step(key("j"));
  await step(key("ArrowDown"));
  await step(key("k"));
  await step(key("Enter"));
  await step(key("ArrowRight"));
  await step(key("j"));
  await step(() => $("close").click());
  await step(key("m"));
  await step(key("m"));
  await step(key("t"));
  await step(key("/"));
  await step(set("name", "SUB/"));
  await step(key("Escape"));
  return seen;
)js";

// Groups are named from the keyboard; what the button saves is kept, not put into a folder of downloads.
constexpr const char* kNaming = R"js(
  const seen = [], $ = id => document.getElementById(id), pause = () => new Promise(done => setTimeout(done, 100));
  const saved = [], links = [];
  Blob = class { constructor(parts) { saved.push(parts.join("")); } };
  URL.createObjectURL = () => "blob:";
  HTMLAnchorElement.prototype.click = function() { links.push(this.download); };
  const active = () => document.activeElement;
  const look = () => {
    const row = active().closest(".group"), bar = $("naming").getBoundingClientRect();
    const place = row && row.getBoundingClientRect();
    return {
      focus: active().dataset.group || active().id,
      free: !row || (place.top >= bar.bottom && place.top < innerHeight),
      said: $("named").textContent,
      notes: [...document.querySelectorAll(".note")].map(note => note.textContent),
      out: [...document.querySelectorAll(".group.out input")].map(box => box.dataset.group),
      button: $("save-names").disabled,
    };
  };
  const type = text => { active().value = text; active().dispatchEvent(new Event("input", {bubbles: true})); };
  const key = (name, more) => active().dispatchEvent(
    new KeyboardEvent("keydown", {key: name, bubbles: true, cancelable: true, ...more}));
  const step = async action => { action(); await pause(); seen.push(look()); };
  await pause();
  await step(() => document.querySelector("#group-rows input").focus());
  await step(() => { type("  cat "); key("Enter", {isComposing: true}); });
  await step(() => key("Enter"));
  await step(() => { type("Cat"); key("ArrowDown"); });
  await step(() => { type("cat"); key("Enter"); });
  await step(() => { type("-"); key("ArrowUp"); });
  await step(() => { key("ArrowDown"); key("Enter"); });
  await step(() => active().click());
  const stays = new Event("beforeunload", {cancelable: true});
  dispatchEvent(stays);
  document.querySelector("#group-rows input").focus();
  await step(() => type("lion"));
  const asks = new Event("beforeunload", {cancelable: true});
  dispatchEvent(asks);
  return {seen, links, saved, asks: [stays.defaultPrevented, asks.defaultPrevented]};
)js";

// The page's document after its script has run.
test::ProcessResult open_page(const std::string& browser, const fs::path& page, const fs::path& profile,
                              const std::string& window = "1000,700") {
  return test::run_process(
      {browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=" + window,
       "--user-data-dir=" + profile.string(), "--virtual-time-budget=5000", "--dump-dom", "file://" + page.string()},
      {.kill_after_seconds = 120});
}

// What a user's steps (the body of an async function) return on the page; "errors" if its script had any.
ordered_json in_page(const std::string& browser, const test::TempDir& folder, const std::string& steps,
                     const std::string& window = "1000,700") {
  std::string page = test::read_text(folder / "page.html");
  const auto end = page.rfind("</body>"), head_end = page.find("</head>");
  page.insert(end, "<script>\n(async () => {" + steps +
                       "})().catch(error => { errors.push(error.message); }).then(result => {\n"
                       "  const text = document.createElement('pre');\n"
                       "  text.id = 'result';\n"
                       "  text.textContent = JSON.stringify({result, errors});\n"
                       "  document.body.replaceChildren(text);\n"
                       "});\n</script>\n");
  page.insert(head_end,
              "<script>const errors = []; addEventListener('error', event => errors.push(event.message));</script>\n");
  test::write_text(folder / "tried.html", page);
  const auto run = open_page(browser, folder / "tried.html", folder / "profile", window);
  const std::string head = "<pre id=\"result\">";
  const auto start = run.out.find(head);
  EXPECT_NE(start, std::string::npos) << run.out.substr(0, 2000) << run.err;
  if (start == std::string::npos) return {};
  const std::string text = run.out.substr(start + head.size());
  const auto answer = ordered_json::parse(text.substr(0, text.find("</pre>")));
  EXPECT_EQ(answer["errors"], ordered_json::array());
  return answer["result"];
}

// report/page/page.html as it lies in the source tree: whoever works on it looks at its own sample.
TEST(ReportInABrowser, ThePagesFilesOpenByThemselves) {
  const std::string browser = chromium();
  if (browser.empty()) GTEST_SKIP() << "no Chromium on PATH (package chromium): the page's files are not opened";
  const test::TempDir folder;
  const auto run = open_page(browser, test::source_path("report/page/page.html"), folder / "profile");
  EXPECT_THAT(run.out, testing::HasSubstr("3 of 3 pictures")) << run.err;
  EXPECT_THAT(run.out, testing::HasSubstr("first: 2 objects: 0.91 0.42, finds 2 of 2"));
  EXPECT_THAT(run.out, testing::HasSubstr("p2.png: not a picture (sample of a failure)"));
}

TEST(ReportInABrowser, KeysAndFilters) {
  const std::string browser = chromium();
  if (browser.empty()) GTEST_SKIP() << "no Chromium on PATH (package chromium): the page's script is not tested";
  const test::TempDir folder;
  test::write_report_case(folder.path());
  const auto made = test::run_usol(
      {"report", "a.json", "b.json", "--images", "pictures", "--annotations", "truth.json", "--out", "page.html"},
      {.directory = folder.path().string()});
  ASSERT_EQ(made.status, 0) << made.err;
  const ordered_json seen_steps = in_page(browser, folder, kLooking);
  std::size_t at = 0;
  const auto expect = [&](const char* step, const ordered_json& wanted) {
    ASSERT_LT(at, seen_steps.size());
    const ordered_json& seen = seen_steps[at++];
    for (const auto& [name, value] : wanted.items()) EXPECT_EQ(seen[name], value) << step << ": " << name;
  };
  const ordered_json all = {"p0.png", "p1.png", "sub/p2.png", "p3.png"};
  expect("at first", {{"cards", all}, {"masks", 4 + 6 + 3}, {"panels", 12}, {"chosen", "4 of 4 pictures"}});
  expect("score >= 0.5", {{"cards", all}, {"masks", 4 + 2 + 3}});
  expect("no object in a.json", {{"cards", {"sub/p2.png", "p3.png"}}, {"chosen", "2 of 4 pictures"}});
  expect("no object in b.json", {{"cards", ordered_json::array({"p3.png"})}});
  expect("everything again", {{"cards", all}});
  expect("most objects first", {{"cards", {"p3.png", "p0.png", "p1.png", "sub/p2.png"}}});
  expect("most missed first", {{"cards", {"sub/p2.png", "p0.png", "p1.png", "p3.png"}}});
  expect("as given", {{"cards", all}, {"focus", ""}});
  expect("j", {{"focus", "p0.png"}, {"large", ""}});
  expect("down", {{"focus", "p1.png"}});
  expect("k", {{"focus", "p0.png"}});
  expect("Enter", {{"large", "1 / 4  p0.png"}});
  expect("right", {{"large", "2 / 4  p1.png"}});
  expect("j", {{"large", "3 / 4  sub/p2.png"}});
  expect("closed", {{"large", ""}, {"focus", "sub/p2.png"}});
  expect("m", {{"masks", 0}, {"focus", "sub/p2.png"}});
  expect("m", {{"masks", 13}});
  expect("t", {{"masks", 9}, {"panels", 8}});
  expect("/", {{"focus", "name"}});
  expect("name", {{"cards", ordered_json::array({"sub/p2.png"})}});
  expect("Escape", {{"focus", "sub/p2.png"}});
}

TEST(ReportInABrowser, GroupsAreNamedByKeys) {
  const std::string browser = chromium();
  if (browser.empty()) GTEST_SKIP() << "no Chromium on PATH (package chromium): the naming of groups is not tested";
  const test::TempDir folder;
  test::write_groups_case(folder.path());
  const test::ProcessOptions here{.directory = folder.path().string()};
  const auto made = test::run_usol({"report", "groups.json", "--images", "pictures", "--out", "page.html"}, here);
  ASSERT_EQ(made.status, 0) << made.err;
  const ordered_json result = in_page(browser, folder, kNaming);
  std::size_t at = 0;
  const auto expect = [&](const char* step, const ordered_json& wanted) {
    ASSERT_LT(at, result["seen"].size());
    const ordered_json& seen = result["seen"][at++];
    EXPECT_EQ(seen["free"], true) << step;  // the row is neither under the bar nor below the window
    for (const auto& [name, value] : wanted.items()) EXPECT_EQ(seen[name], value) << step << ": " << name;
  };
  expect("at first", {{"focus", "1"}, {"said", "0 of 4 named, 0 categories"}, {"button", true}});
  expect("a syllable", {{"focus", "1"}, {"said", "1 of 4 named, 1 category"}, {"button", false}});
  expect("Enter", {{"focus", "2"}});
  expect("Cat", {{"focus", "3"}, {"notes", {"another category than Cat", "another category than cat", "", ""}}});
  expect("cat again", {{"focus", "other"},
                       {"notes",
                        {"one category with group 3; another category than Cat", "another category than cat",
                         "one category with group 1; another category than Cat", ""}}});
  expect("-, and back", {{"focus", "3"}, {"out", {"other"}}, {"said", "4 of 4 named, 2 categories"}});
  expect("after the last", {{"focus", "save-names"}});
  expect("saved", {{"said", "saved. Now: usol group groups.json --names names.txt --out named.json"}});
  expect("a name after that", {{"said", "4 of 4 named, 3 categories"}});
  EXPECT_EQ(result["links"], ordered_json::array({"names.txt"}));
  EXPECT_EQ(result["asks"], (ordered_json{false, true}));  // before names that are not saved are lost
  ASSERT_EQ(result["saved"], ordered_json::array({"1, cat\n2, Cat\n3, cat\nother, -\n"}));

  test::write_text(folder / "names.txt", result["saved"][0].get<std::string>());
  const auto named = test::run_usol({"group", "groups.json", "--names", "names.txt", "--out", "named.json"}, here);
  ASSERT_EQ(named.status, 0) << named.err;
  const auto file = ordered_json::parse(test::read_text(folder / "named.json"));
  ASSERT_EQ(file["categories"].size(), 2u);
  EXPECT_EQ(file["categories"][0]["name"], "cat");
  EXPECT_EQ(file["categories"][1]["name"], "Cat");
  std::vector<int> categories;
  for (const auto& object : file["annotations"]) categories.push_back(object["category_id"].get<int>());
  EXPECT_EQ(categories, (std::vector<int>{1, 2, 1, 2, 1}));
}

TEST(ReportInABrowser, NothingIsWiderThanANarrowWindow) {
  const std::string browser = chromium();
  if (browser.empty()) GTEST_SKIP() << "no Chromium on PATH (package chromium): narrow windows are not tested";
  const test::TempDir folder;
  test::write_groups_case(folder.path());
  const auto made = test::run_usol(
      {"report", "groups.json", "b.json", "--images", "pictures", "--annotations", "truth.json", "--out", "page.html"},
      {.directory = folder.path().string()});
  ASSERT_EQ(made.status, 0) << made.err;
  const ordered_json result =
      in_page(browser, folder, "return [document.documentElement.scrollWidth, innerWidth];", "500,800");
  EXPECT_LE(result[0].get<int>(), result[1].get<int>());
}

}  // namespace
}  // namespace usol::cli
