// Runs the tests of one file (--file=ops/softmax_test) or all. --device=cuda keeps those of a CUDA device: the op cases
// "<name>/cuda" and the suites named Cuda*, which skip without one.
// USOL_KERNEL_REPORT=FILE: which CUDA kernels ran in how many tests (support/kernel_report.h).
// Exit status 77 when every selected test was skipped, so that ctest reports "Skipped" and never "Passed".
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/support/kernel_report.h"
#include "tests/support/op_case.h"

namespace {

bool selected(const testing::TestInfo& info, const std::string& file, bool only_cuda) {
  const std::string_view suite = info.test_suite_name(), name = info.name();
  if (only_cuda && !name.ends_with("/cuda") && !suite.starts_with("Cuda")) return false;
  return file.empty() || std::string_view(info.file()).ends_with("tests/" + file + ".cc");
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  usol::test::register_op_tests();
  std::string file;
  bool only_cuda = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--file=")) {
      file = argument.substr(7);
    } else if (argument == "--device=cuda") {
      only_cuda = true;
    } else {
      std::fprintf(stderr, "unknown argument %s\n", argv[i]);
      return 2;
    }
  }
  if (!file.empty() || only_cuda) {
    std::string filter;
    const auto& unit = *testing::UnitTest::GetInstance();
    for (int s = 0; s < unit.total_test_suite_count(); ++s) {
      const auto& suite = *unit.GetTestSuite(s);
      for (int t = 0; t < suite.total_test_count(); ++t) {
        const auto& info = *suite.GetTestInfo(t);
        if (selected(info, file, only_cuda)) filter += std::string(suite.name()) + "." + info.name() + ":";
      }
    }
    if (filter.empty()) {
      std::fprintf(stderr, "no test%s in tests/%s.cc\n", only_cuda ? " for CUDA" : "", file.c_str());
      return 2;
    }
    GTEST_FLAG_SET(filter, filter);
  }
  if (const char* report = std::getenv("USOL_KERNEL_REPORT")) usol::test::report_cuda_kernels(report);
  const int status = RUN_ALL_TESTS();
  const auto& unit = *testing::UnitTest::GetInstance();
  if (status == 0 && unit.skipped_test_count() > 0 && unit.successful_test_count() == 0) return 77;
  return status;
}
