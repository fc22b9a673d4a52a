// scripts/gpu-check, with a package of stand-ins: a shell script that talks like the test program, and this build's
// usol with the CPU for a device. Every part of the plan runs, and the pages take what it found.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace usol {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::HasSubstr;

// Four tests on which the programs differ: one passes, one fails always, one takes its process along when others run
// beside it, one is skipped.
constexpr const char* kTests = R"(#!/bin/sh
case "$*" in
  *--gtest_list_tests*) printf 'Op.\n  good/cuda\n  bad/cuda\n  fatal/cuda\nCudaGraph.\n  Later  # a comment\n'; exit ;;
esac
[ "${GTEST_SHARD_INDEX:-0}" = 0 ] || exit 0
ok() {
  printf '[ RUN      ] %s\n[       OK ] %s (7 ms)\n' "$1" "$1"
  printf '%s\tpassed\t%s\n' "$1" "$2" >>"$USOL_KERNEL_REPORT"
}
bad() {
  printf '[ RUN      ] Op.bad/cuda\nwrong numbers\n[  FAILED  ] Op.bad/cuda (3 ms)\n'
  printf 'Op.bad/cuda\tfailed\tsoftmax\n' >>"$USOL_KERNEL_REPORT"
}
case "$*" in
  *=Op.bad/cuda) bad; exit 1 ;;
  *=Op.fatal/cuda) ok Op.fatal/cuda 'unary binary' ;;
  *='Op.*/cuda') ok Op.good/cuda 'softmax unary'; bad; echo '[ RUN      ] Op.fatal/cuda'; kill -SEGV $$ ;;
  *) ok CudaGraph.Later unary ;;
esac
)";

class GpuCheck : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    for (const char* part : {"scripts/gpu-check", "scripts/gpu-status.py", "scripts/gpu_check", "bench",
                             "tests/pictures", "docs/gpu-status.md", "docs/performance.md"}) {
      fs::create_directories((package() / part).parent_path());
      fs::copy(test::source_path(part), package() / part, fs::copy_options::recursive);
    }
    program("usol_tests_emulated", kTests);
    program("usol-emulated", "#!/bin/bash\nexec '" + test::usol_binary() + "' \"${@/#cuda/cpu}\"\n");
    test::write_text(package() / "revision", "a1b2c3\n");
    fs::create_directories(package() / "models");
    const auto made = test::run_process({"/usr/bin/env", "python3", "-c",
                                         "import sys; sys.path[:0] = ['scripts', 'bench']; from gpu_check import pack; "
                                         "pack.make_models('.', sys.argv[1])",
                                         test::usol_binary()},
                                        {.directory = package().string()});
    ASSERT_EQ(made.status, 0) << made.err;
    run_ = test::run_process({(package() / "scripts/gpu-check").string(), "run", "--out", (*folder_ / "out").string()});
    results_ = Json::parse(test::read_text(*folder_ / "out/results.json"));
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static fs::path package() { return *folder_ / "package"; }
  static void program(const std::string& name, const std::string& text) {
    test::write_text(package() / "bin" / name, text);
    fs::permissions(package() / "bin" / name, fs::perms::owner_all);
  }
  static Json part(const std::string& name) {
    for (const Json& one : results_["parts"])
      if (one["name"] == name) return one;
    return {};
  }

  static test::TempDir* folder_;
  static test::ProcessResult run_;
  static Json results_;
};
test::TempDir* GpuCheck::folder_ = nullptr;
test::ProcessResult GpuCheck::run_;
Json GpuCheck::results_;

TEST_F(GpuCheck, EveryPartOfThePlanRunsInItsOrder) {
  const auto plan = test::run_process({test::source_path("scripts/gpu-check"), "plan"});
  std::size_t after = 0;
  std::vector<std::string> ran;
  for (const Json& one : results_["parts"]) {
    ran.push_back(one["name"]);
    EXPECT_GT(one["estimate_s"], 0);
    const std::size_t at = plan.out.find("\n" + ran.back() + " ", after);
    EXPECT_NE(at, std::string::npos) << ran.back();
    after = at;
  }
  EXPECT_THAT(ran, testing::ElementsAre("start", "cases", "sanitizer", "results", "speed", "training"));
  EXPECT_EQ(run_.status, 1) << run_.err;  // a case fails
  for (const char* name : {"start", "results", "training"}) EXPECT_EQ(part(name)["status"], "passed") << part(name);
  EXPECT_EQ(part("sanitizer")["status"], "not run");
  EXPECT_EQ(part("speed")["status"], "not run");  // there is no benchmark program; pictures a second are read
  EXPECT_GT(results_["maskcut"]["images_per_second"], 0);
  EXPECT_EQ(results_["results"].size(), 3u);
  for (const auto& [name, row] : results_["results"].items()) {
    EXPECT_GE(row["objects"], 5) << name;
    EXPECT_EQ(row["identical"], row["objects"]) << name;
  }
  EXPECT_EQ(results_["training"]["first_difference"], 0);
}

TEST_F(GpuCheck, ACaseThatEndsItsProcessIsJudgedAlone) {
  const Json tests = results_["tests"];
  ASSERT_EQ(tests.size(), 4u) << tests;
  EXPECT_EQ(tests["Op.good/cuda"], (Json{{"status", "passed"}, {"ms", 7}, {"kernels", {"softmax", "unary"}}}));
  EXPECT_EQ(tests["Op.fatal/cuda"]["status"], "passed");
  EXPECT_EQ(tests["CudaGraph.Later"]["status"], "passed");
  EXPECT_EQ(tests["Op.bad/cuda"]["status"], "failed");
  EXPECT_EQ(tests["Op.bad/cuda"]["ms"], 3);
  EXPECT_THAT(tests["Op.bad/cuda"]["text"].get<std::string>(), HasSubstr("wrong numbers"));
  EXPECT_EQ(part("cases")["text"], "3 passed, 1 failed of 4: Op.bad/cuda");
  EXPECT_THAT(test::read_text(*folder_ / "out/log.txt"), HasSubstr("[ RUN      ] Op.fatal/cuda"));
}

TEST_F(GpuCheck, ThePagesTakeTheResults) {
  const fs::path script = package() / "scripts/gpu-status.py", out = *folder_ / "out";
  const auto refused = test::run_process({script.string(), out.string()});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("emulated"));

  Json results = results_;  // as a GPU would give them
  results["emulated"] = false;
  results["gpu"] = "NVIDIA H200";
  results["ops"] = {{{"op", "add"},
                     {"dtype", "f32"},
                     {"shapes", "3601x768;768"},
                     {"usol_us", 10.0},
                     {"bytes", 2.2e7},
                     {"flop", 0},
                     {"share", 0.456},
                     {"roof", "memory"},
                     {"torch_us", 12.0},
                     {"torch_over_usol", 1.2}},
                    {{"op", "mul"}, {"dtype", "bf16"}, {"shapes", "2"}, {"error", "a fault"}}};
  test::write_text(out / "results.json", results.dump());
  for (int times = 0; times < 2; ++times) {  // the second run replaces what the first wrote
    const auto taken = test::run_process({script.string(), out.string()});
    ASSERT_EQ(taken.status, 0) << taken.err;
  }
  const std::string status = test::read_text(package() / "docs/gpu-status.md");
  for (const char* row :
       {"| `softmax` | emulated | **1 of 2 tests failed**, NVIDIA H200, a1b2c3 |",
        "| `unary` | emulated | 3 tests passed, NVIDIA H200, a1b2c3 |", "| `softmax_grad` | emulated | not yet run |",
        "to the bit; ", " images/s, NVIDIA H200, a1b2c3 |"})
    EXPECT_THAT(status, HasSubstr(row));
  const std::string speed = test::read_text(package() / "docs/performance.md");
  const std::string add = "| add | f32 | 3601x768;768 | 10.0 us | 0.46 of memory | 12.0 us | 1.20 |";
  EXPECT_THAT(speed, HasSubstr("\n" + add + "\n| mul | bf16 | 2 | **failed** | - | - | - |\n"));
  EXPECT_EQ(speed.find(add), speed.rfind(add));
  EXPECT_THAT(speed, HasSubstr("## Repeating"));
}

TEST_F(GpuCheck, WithoutAGpuOrAPackageNothingRuns) {
  const auto none = test::run_process({test::source_path("scripts/gpu-check"), "run"});
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.err, HasSubstr("scripts/gpu-check pack"));
  EXPECT_EQ(test::run_process({test::source_path("scripts/gpu-check"), "run", "--parts", "cases dance"}).status, 2);
  // A package for a GPU, where no nvidia-smi is.
  const test::TempDir folder;
  fs::copy(package(), folder / "package", fs::copy_options::recursive);
  fs::rename(folder / "package/bin/usol-emulated", folder / "package/bin/usol-cuda");
  const auto no_gpu =
      test::run_process({(folder / "package/scripts/gpu-check").string(), "run", "--out", (folder / "out").string()},
                        {.environment = {{"PATH", fs::path("/usr/bin/python3").parent_path().string()}}});
  if (fs::exists("/usr/bin/nvidia-smi")) GTEST_SKIP() << "there is an nvidia-smi here";
  EXPECT_EQ(no_gpu.status, 77) << no_gpu.err;
  EXPECT_FALSE(fs::exists(folder / "out/results.json"));
}

// The shares of the roof, reckoned by hand: 4.8 TB/s and 989 TFLOP/s of bf16 on an H200.
TEST_F(GpuCheck, SharesOfTheRoof) {
  const Json bench = {
      {"benchmarks",
       {{{"name", "op/add/f32/cuda/8x8"}, {"real_time", 100.0}, {"time_unit", "us"}, {"bytes", 2.4e8}, {"flop", 0}},
        {{"name", "op/matmul/bf16/cuda/8x8"},
         {"real_time", 2.0},
         {"time_unit", "ms"},
         {"bytes", 1e6},
         {"flop", 9.89e11}},
        {{"name", "crf/one"}, {"real_time", 1.0}, {"time_unit", "ms"}}}}};
  test::write_text(*folder_ / "bench.json", bench.dump());
  const auto table = [&](const std::string& gpu) {
    return test::run_process({test::source_path("bench/roof.py"), (*folder_ / "bench.json").string(), gpu});
  };
  const auto known = table("NVIDIA H200"), unknown = table("Some Card");
  EXPECT_EQ(known.status, 0) << known.err;
  EXPECT_THAT(known.out, testing::ContainsRegex("add +f32 +100.0 +240.0 +0.00 +0.50  memory"));
  EXPECT_THAT(known.out, testing::ContainsRegex("matmul +bf16 +2000.0 +1.0 +989.00 +0.50  arithmetic"));
  EXPECT_THAT(unknown.err, HasSubstr("no peak rates are known of Some Card"));
}

}  // namespace
}  // namespace usol
