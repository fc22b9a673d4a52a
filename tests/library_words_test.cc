// A library has no command line: below cli/ no text that a program may show, and no docstring, names a flag.
#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

struct Words {
  std::string literals, comments;  // each on lines of its own
};

// Takes C++ apart: what stands in quotes, and what in comments. Knows no raw strings of several lines.
Words words_of(const std::string& code) {
  Words words;
  for (std::size_t i = 0; i < code.size(); ++i) {
    if (code.compare(i, 2, "//") == 0) {
      const std::size_t end = std::min(code.find('\n', i), code.size());
      words.comments += code.substr(i, end - i) + "\n";
      i = end;
    } else if (code.compare(i, 2, "/*") == 0) {
      const std::size_t end = std::min(code.find("*/", i), code.size());
      words.comments += code.substr(i, end - i) + "\n";
      i = end + 1;
    } else if (code[i] == '"' ||
               (code[i] == '\'' && (i == 0 || !std::isalnum(static_cast<unsigned char>(code[i - 1]))))) {
      std::size_t end = i + 1;
      while (end < code.size() && code[end] != code[i]) end += code[end] == '\\' ? 2 : 1;
      words.literals += code.substr(i, std::min(end + 1, code.size()) - i) + "\n";
      i = end;
    }
  }
  return words;
}

// The first flag of a text; empty if there is none. Those of srun are not ours.
std::string flag_in(const std::string& text) {
  static const std::regex flag("(?:^|[^-!<A-Za-z0-9])(--[a-z][a-z-]+)"), foreign("srun --[a-z]+");
  std::smatch found;
  const std::string own = std::regex_replace(text, foreign, "srun");
  return std::regex_search(own, found, flag) ? found[1].str() : std::string();
}

TEST(LibraryWords, NoTextBelowCliNamesAFlag) {
  int files = 0;
  for (const char* room :
       {"tensor", "autograd", "ops", "nn", "models", "maskcut", "train", "io", "eval", "report", "pipeline"}) {
    for (const auto& entry : fs::recursive_directory_iterator(test::source_path(room))) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cc" && extension != ".cu" && extension != ".cuh") continue;
      ++files;
      const Words words = words_of(test::read_text(entry.path()));
      EXPECT_EQ(flag_in(words.literals), "") << entry.path() << " says so";
      if (extension == ".h") EXPECT_EQ(flag_in(words.comments), "") << entry.path() << " says so in a comment";
    }
  }
  EXPECT_GT(files, 300);
}

TEST(LibraryWords, FlagsAreFound) {
  EXPECT_EQ(flag_in(words_of("fail(\"use --device cpu\");").literals), "--device");
  EXPECT_EQ(flag_in(words_of("fail(\"a\"\n     \"--no-crf\");").literals), "--no-crf");
  EXPECT_EQ(flag_in(words_of("--count;  // for `--dump`\n").comments), "--dump");
  EXPECT_EQ(flag_in(words_of("const int million = 1'000'000;  // \"--x-ray\"").comments), "--x-ray");
  const Words fine =
      words_of("--left; if (c == '\"') --top; \"<!--slot \"; \"srun --mpi=pmix\"; \"a \\\" -- b\";  // i--");
  EXPECT_EQ(flag_in(fine.literals), "");
  EXPECT_EQ(flag_in(fine.comments), "");
}

}  // namespace
}  // namespace usol
