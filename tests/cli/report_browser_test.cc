// The report's page in a browser: its script, its keys and its filters, in headless Chromium. Skipped where there is
// none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/report_case.h"
#include "tests/support/temp_dir.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

using nlohmann::ordered_json;

std::string chromium() {
  const char* path = std::getenv("PATH");
  std::string folders = path == nullptr ? "" : path;
  for (std::size_t start = 0; start < folders.size();) {
    const std::size_t end = std::min(folders.find(':', start), folders.size());
    for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
      const fs::path file = fs::path(folders.substr(start, end - start)) / name;
      if (fs::exists(file)) return file.string();
    }
    start = end + 1;
  }
  return {};
}

// What the page shows, read after each step of a user. Timers run in virtual time, so this takes no waiting.
constexpr const char* kUser = R"html(<script>
(async () => {
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
  const errors = [];
  addEventListener("error", event => errors.push(event.message));
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
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify({seen, errors});
  document.body.replaceChildren(result);
})();
</script>
</body>)html";

// The page's document after its script has run.
test::ProcessResult open_page(const std::string& browser, const fs::path& page, const fs::path& profile) {
  return test::run_process(
      {browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
       "--user-data-dir=" + profile.string(), "--virtual-time-budget=5000", "--dump-dom", "file://" + page.string()},
      {.kill_after_seconds = 120});
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
  std::string page = test::read_text(folder / "page.html");
  const auto end = page.rfind("</body>");
  ASSERT_NE(end, std::string::npos);
  test::write_text(folder / "page.html", page.substr(0, end) + kUser + page.substr(end + 7));
  const auto run = open_page(browser, folder / "page.html", folder / "profile");
  const std::string head = "<pre id=\"result\">";
  const auto start = run.out.find(head);
  ASSERT_NE(start, std::string::npos) << run.out.substr(0, 2000) << run.err;
  std::string text = run.out.substr(start + head.size());
  text = text.substr(0, text.find("</pre>"));
  const auto result = ordered_json::parse(text);
  EXPECT_EQ(result["errors"], ordered_json::array());
  std::size_t at = 0;
  const auto expect = [&](const char* step, const ordered_json& wanted) {
    ASSERT_LT(at, result["seen"].size());
    const ordered_json& seen = result["seen"][at++];
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

}  // namespace
}  // namespace usol::cli
