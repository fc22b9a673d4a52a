// tests/mutations.txt fits the tree: scripts/mutate would find each text once. Which of the changes the tests notice
// takes hours to say, and is that script's work.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <sstream>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/process.h"

namespace usol {
namespace {

TEST(Mutations, EachTextStandsInItsFileOnce) {
  std::istringstream list(test::read_text(test::source_path("tests/mutations.txt")));
  std::string file, old;
  std::set<std::string> rooms;
  int changes = 0, number = 0;
  for (std::string line; std::getline(list, line);) {
    ++number;
    const std::string place = "tests/mutations.txt:" + std::to_string(number);
    if (line.empty() || line.starts_with("#")) continue;
    if (line.starts_with("- ")) {
      old = line.substr(2);
      const std::string text = test::read_text(test::source_path(file));
      const auto first = text.find(old);
      EXPECT_NE(first, std::string::npos) << place << ": not in " << file << ": " << old;
      if (first == std::string::npos) continue;
      EXPECT_EQ(text.find(old, first + 1), std::string::npos) << place << ": more than once in " << file << ": " << old;
    } else if (line.starts_with("+ ")) {
      EXPECT_NE(line.substr(2), old) << place;
      ++changes;
    } else {
      const auto colon = line.find(": ");
      ASSERT_NE(colon, std::string::npos) << place << ": expected 'FILE: TEST...', got '" << line << "'";
      file = line.substr(0, colon);
      rooms.insert(file.substr(0, file.find('/')));
      std::istringstream tests(line.substr(colon + 1));
      for (std::string name; tests >> name;)
        EXPECT_TRUE(std::filesystem::exists(test::source_path("tests/" + name + ".cc")))
            << place << ": no test " << name;
    }
  }
  EXPECT_GE(changes, 60);
  for (const char* room : {"maskcut", "models", "nn", "ops", "train", "io", "eval", "report", "cli", "configs"})
    EXPECT_TRUE(rooms.contains(room)) << "no change in " << room;
}

}  // namespace
}  // namespace usol
