// The rooms of docs/tour.md and who may include whom, checked on the #include lines of the tree.
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

// room -> rooms it may include (itself always).
const std::map<std::string, Rooms> kMayInclude = {
    {"tensor", {}},
    {"autograd", {"tensor"}},
    {"ops", {"tensor", "autograd"}},
    {"nn", {"tensor", "autograd", "ops"}},
    {"models", {"tensor", "autograd", "ops", "nn"}},
    {"io", {"tensor"}},
    {"maskcut", {"tensor", "autograd", "ops", "nn", "models", "io"}},
    {"train", {"tensor", "autograd", "ops", "nn", "models", "io"}},
    {"eval", {"tensor", "io"}},
    {"report", {"tensor", "io", "eval"}},
    {"pipeline", {"tensor", "autograd", "ops", "nn", "models", "io", "maskcut", "train", "eval", "report"}},
    {"cli", {"tensor", "autograd", "ops", "nn", "models", "io", "maskcut", "train", "eval", "report", "pipeline"}},
    {"bench",
     {"tensor", "autograd", "ops", "nn", "models", "io", "maskcut", "train", "eval", "report", "pipeline", "tests"}},
};

// cli/ holds options, wording and calls: what a verb does is a function of pipeline/. Of other rooms it sees what a
// command line needs and no job does.
const std::map<std::string, std::string> kCliMayInclude = {
    {"tensor/check.h", "errors about options"},
    {"tensor/error.h", "kinds of errors become exit statuses"},
    {"tensor/device.h", "--device"},
    {"tensor/device_count.h", "--device: the GPUs there are"},
    {"tensor/dtype.h", "--precision"},
    {"tensor/parallel.h", "--threads"},
    {"tensor/openmp_wait.h", "the same: how the threads of the whole process wait, which no job decides"},
    {"train/distributed.h", "processes that mpirun has started together"},
    {"ops/all_reduce.h", "the same, as every Run has them"},
    {"io/wait.h", "signals end waits"},
    {"io/image_formats.h", "--version: which pictures are read"},
};

// A detector is known to its own folder alone; all others know the interface (models/detector.h). But for what times
// its parts.
const Rooms kDetectors = {"models/rcnn/", "models/solov2/"};
const Rooms kKnowDetectors = {"bench/cells_bench.cc", "bench/detector_bench.cc"};

std::string violation(const std::string& file, const std::string& included) {
  const std::string room = file.substr(0, file.find('/'));
  if (!kMayInclude.contains(room)) return {};
  if (!included.starts_with("usol/")) {
    const std::string first = included.substr(0, included.find('/'));
    if (first == "tests" && room != "bench") return "nothing but bench includes tests";
    if (kMayInclude.contains(first) && first != "bench") return "expected usol/" + included;
    return {};
  }
  const std::string inside = included.substr(std::string("usol/").size());
  const std::string target = inside.substr(0, inside.find('/'));
  for (const std::string& detector : kDetectors)
    if (inside.starts_with(detector) && !file.starts_with(detector) && !kKnowDetectors.contains(file))
      return "nothing outside " + detector + " must include it";
  if (target == room) return {};
  if (!kMayInclude.at(room).contains(target)) return room + " must not include " + target;
  if (room == "cli" && target != "pipeline" && !kCliMayInclude.contains(inside))
    return "cli must not include " + inside + ": work belongs into a function of pipeline/ that a C++ program can call";
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

TEST(IncludeDirection, TheBinaryStaysAThinSkin) {
  int lines = 0;
  for (const auto& entry : fs::directory_iterator(test::source_path("cli"))) {
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) ++lines;
  }
  EXPECT_GT(lines, 1000);
  EXPECT_LT(lines, 3000);
}

TEST(IncludeDirection, RefusesWhatItShould) {
  EXPECT_NE(violation("tensor/tensor.h", "usol/ops/matmul.h"), "");
  EXPECT_NE(violation("train/trainer.cc", "usol/maskcut/maskcut.h"), "");
  EXPECT_NE(violation("maskcut/maskcut.cc", "usol/models/rcnn/rcnn.h"), "");
  for (const char* file : {"models/detector.cc", "train/trainer.cc", "pipeline/train_config.cc", "cli/train.cc"})
    EXPECT_NE(violation(file, "usol/models/rcnn/rcnn.h"), "") << file;
  EXPECT_EQ(violation("models/rcnn/rpn.cc", "usol/models/rcnn/boxes.h"), "");
  EXPECT_NE(violation("eval/coco_eval.cc", "usol/report/chart.h"), "");
  EXPECT_NE(violation("report/report.cc", "usol/maskcut/maskcut.h"), "");
  EXPECT_NE(violation("io/rle.cc", "tests/support/golden.h"), "");
  EXPECT_NE(violation("io/rle.cc", "io/rle.h"), "");
  EXPECT_NE(violation("cli/eval.cc", "usol/ops/matmul.h"), "");
  EXPECT_NE(violation("cli/eval.cc", "usol/eval/coco_eval.h"), "");
  EXPECT_EQ(violation("cli/eval.cc", "usol/pipeline/evaluate.h"), "");
  EXPECT_EQ(violation("cli/eval.cc", "usol/cli/verb.h"), "");
  EXPECT_EQ(violation("cli/eval.cc", "usol/tensor/check.h"), "");
  EXPECT_EQ(violation("maskcut/maskcut.cc", "usol/models/vit.h"), "");
  EXPECT_EQ(violation("bench/main.cc", "tests/support/golden.h"), "");
}

}  // namespace
}  // namespace usol
