// docs/settings.md is made of the declarations: what is declared, and nothing else, stands there.
// With USOL_WRITE_PAGES=1 in the environment the test writes the page instead.
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "usol/cli/run_verb.h"
#include "usol/cli/verb.h"

namespace usol::cli {
namespace {

constexpr const char* kBegin = "<!-- From here on made by tests/cli/settings_page_test.cc. -->\n";

std::string tables() {
  std::string text;
  for (const VerbEntry& entry : verbs()) {
    const std::string table = verb_settings_table(entry.name);
    if (!table.empty()) text += "\n## " + entry.name + "\n" + table;
  }
  return text + "\n## Every verb\n" + common_settings_table();
}

TEST(SettingsPage, IsWhatIsDeclared) {
  const std::string path = test::source_path("docs/settings.md");
  const std::string page = test::read_text(path);
  const std::size_t begin = page.find(kBegin);
  ASSERT_NE(begin, std::string::npos) << path << ": expected the line " << kBegin;
  const std::string introduction = page.substr(0, begin), expected = introduction + kBegin + tables();
  if (std::getenv("USOL_WRITE_PAGES") != nullptr) {
    test::write_text(path, expected);
    return;
  }
  std::istringstream is(page), should_be(expected);
  for (int number = 1; page != expected; ++number) {
    std::string line, declared;
    std::getline(is, line);
    std::getline(should_be, declared);
    if (line == declared && is && should_be) continue;
    FAIL() << "docs/settings.md is stale at line " << number << ": expected\n"
           << declared << "\ngot\n"
           << line << "\nUSOL_WRITE_PAGES=1 usol_tests --file=cli/settings_page_test writes it anew";
  }
}

// A row has all that a setting is.
TEST(SettingsPage, ARowSaysAllOfASetting) {
  const std::string table = verb_settings_table("train");
  EXPECT_NE(table.find("\n| `batch` | 16 | from 1 | Pictures per step |\n"), std::string::npos);
  EXPECT_NE(table.find("\n| `flip` | 0.5 | 0 to 1 | Probability of a left-right flip |\n"), std::string::npos);
  EXPECT_NE(table.find("\n| `optimizer` | sgd | sgd, adamw | What moves the weights |\n"), std::string::npos);
  EXPECT_NE(table.find("release makes `gamma = 0.02`, `lr = 0.01` |\n"), std::string::npos);
  EXPECT_EQ(table.find("`threads`"), std::string::npos);
  EXPECT_NE(table.find("\n| `droploss` | true |  | `false`: Regions that overlap no object"), std::string::npos);
  EXPECT_NE(verb_settings_table("maskcut").find("files: \\<name without extension>.safetensors"), std::string::npos);
}

}  // namespace
}  // namespace usol::cli
