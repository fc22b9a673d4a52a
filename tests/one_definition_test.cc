// A type has one definition: two of one name in one namespace, in files that never meet, compile and link, and then the
// linker keeps one of the functions that the compiler made for each (std::vector<T>::push_back, say).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <istream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/golden.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

// Full names of the types that a file, formatted as ours are, defines outside unnamed namespaces.
std::vector<std::string> types_of(std::istream& file) {
  static const std::regex opened("^(?:inline )?namespace ?([A-Za-z_:0-9]*) ?\\{$"), closed("^\\}  // namespace.*"),
      type("^(?:struct|class|union|enum class|enum) ([A-Za-z_0-9]+)(?: [^;]*)?\\{.*");
  std::vector<std::string> inside, found;
  std::smatch match;
  for (std::string line; std::getline(file, line);) {
    if (std::regex_match(line, match, opened)) {
      inside.push_back(match[1]);
    } else if (std::regex_match(line, closed) && !inside.empty()) {
      inside.pop_back();
    } else if (std::regex_match(line, match, type)) {
      std::string name;
      bool unnamed = false;
      for (const std::string& space : inside) {
        unnamed = unnamed || space.empty();
        name += space + "::";
      }
      if (!unnamed) found.push_back(name + match[1].str());
    }
  }
  return found;
}

TEST(OneDefinition, HoldsInTheTree) {
  std::map<std::string, std::string> where;
  for (const char* room : {"tensor", "autograd", "ops", "nn", "models", "maskcut", "train", "io", "eval", "report",
                           "cli", "bench", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(test::source_path(room))) {
      const std::string extension = entry.path().extension(), name = entry.path();
      if (extension != ".h" && extension != ".cc" && extension != ".cu" && extension != ".cuh") continue;
      std::ifstream file(entry.path());
      for (const std::string& type : types_of(file)) {
        const auto [first, is_new] = where.emplace(type, name);
        EXPECT_TRUE(is_new) << type << " is defined in " << first->second << " and in " << name;
      }
    }
  }
  EXPECT_GT(where.size(), 300u);
}

TEST(OneDefinition, SeesNamespaces) {
  std::istringstream file(
      "namespace usol {\nstruct A;\nstruct A final : B {\n};\nnamespace {\nclass C {\n};\n}  // namespace\n"
      "namespace x::y {\ntemplate <class T>\nclass D {};\n}  // namespace x::y\nenum class E {\n};\n}  // namespace "
      "usol\n");
  EXPECT_EQ(types_of(file), (std::vector<std::string>{"usol::A", "usol::x::y::D", "usol::E"}));
}

}  // namespace
}  // namespace usol
