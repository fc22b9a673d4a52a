// The rooms of docs/design.md and who may include whom, checked on the #include lines of the tree.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/support/golden.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

using Rooms = std::set<std::string>;

// room -> rooms it may include (itself always). "maskcut" sees models/ except models/rcnn/.
const std::map<std::string, Rooms> kMayInclude = {
    {"tensor", {}},
    {"autograd", {"tensor"}},
    {"ops", {"tensor", "autograd"}},
    {"nn", {"tensor", "autograd", "ops"}},
    {"models", {"tensor", "autograd", "ops", "nn"}},
    {"io", {"tensor"}},
    {"maskcut", {"tensor", "autograd", "ops", "nn", "models", "io"}},
    {"train", {"tensor", "autograd", "ops", "nn", "models", "io"}},
    {"eval", {"tensor", "autograd", "ops", "nn", "models", "io"}},
    {"cli", {"tensor", "autograd", "ops", "nn", "models", "io", "maskcut", "train", "eval"}},
    {"bench", {"tensor", "autograd", "ops", "nn", "models", "io", "maskcut", "train", "eval", "tests"}},
};

std::string violation(const std::string& file, const std::string& included) {
  const std::string room = file.substr(0, file.find('/'));
  const std::string target = included.substr(0, included.find('/'));
  if (!kMayInclude.contains(room) || target == room) return {};
  if (target == "tests" && room != "bench") return "nothing but bench includes tests";
  if (!kMayInclude.contains(target) && target != "tests") return {};  // a library's header
  if (!kMayInclude.at(room).contains(target)) return room + " must not include " + target;
  if (room == "maskcut" && included.starts_with("models/rcnn/")) return "maskcut must not include models/rcnn";
  return {};
}

TEST(IncludeDirection, HoldsInTheTree) {
  const fs::path root = test::source_path("");
  const std::regex quoted("^\\s*#\\s*include\\s*\"([^\"]+)\"");
  const std::regex cuda("^\\s*#\\s*include\\s*[<\"](cuda|cublas|cudnn|cusolver|cub/|thrust/|nccl)");
  int files = 0;
  for (const auto& [room, ignored] : kMayInclude) {
    if (!fs::exists(root / room)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / room)) {
      const std::string extension = entry.path().extension();
      if (extension != ".h" && extension != ".cc" && extension != ".cu" && extension != ".cuh") continue;
      ++files;
      const std::string name = fs::relative(entry.path(), root);
      std::ifstream in(entry.path());
      int line_number = 0;
      for (std::string line; std::getline(in, line);) {
        ++line_number;
        std::smatch match;
        if (std::regex_search(line, match, quoted)) {
          EXPECT_EQ(violation(name, match[1]), "") << name << ":" << line_number << ": " << line;
        }
        if (extension != ".cu" && extension != ".cuh" && !name.starts_with("tensor/cuda/")) {
          EXPECT_FALSE(std::regex_search(line, cuda)) << name << ":" << line_number << ": CUDA header outside .cu";
        }
      }
    }
  }
  EXPECT_GT(files, 20);
}

TEST(IncludeDirection, RefusesWhatItShould) {
  EXPECT_NE(violation("tensor/tensor.h", "ops/matmul.h"), "");
  EXPECT_NE(violation("train/trainer.cc", "maskcut/maskcut.h"), "");
  EXPECT_NE(violation("maskcut/maskcut.cc", "models/rcnn/rcnn.h"), "");
  EXPECT_NE(violation("io/rle.cc", "tests/support/golden.h"), "");
  EXPECT_EQ(violation("maskcut/maskcut.cc", "models/vit.h"), "");
}

}  // namespace
}  // namespace usol
