// Runs the tests of one file (--file=ops/softmax_test) or all; --device=cuda keeps those that need a CUDA device.
// Exit status 77 when every selected test was skipped, so that ctest reports "Skipped" and never "Passed".
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "tests/support/devices.h"

namespace {

bool selected(const testing::TestInfo& info, const std::string& file) {
  return file.empty() || std::string_view(info.file()).ends_with("tests/" + file + ".cc");
}

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  std::string file;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--file=")) {
      file = argument.substr(7);
    } else if (argument == "--device=cuda") {
      usol::test::only_cuda() = true;
    } else {
      std::fprintf(stderr, "unknown argument %s\n", argv[i]);
      return 2;
    }
  }
  const std::string user_filter = GTEST_FLAG_GET(filter);
  if (!file.empty()) {
    std::string filter;
    const auto& unit = *testing::UnitTest::GetInstance();
    for (int s = 0; s < unit.total_test_suite_count(); ++s) {
      const auto& suite = *unit.GetTestSuite(s);
      for (int t = 0; t < suite.total_test_count(); ++t) {
        const auto& info = *suite.GetTestInfo(t);
        if (selected(info, file)) filter += std::string(suite.name()) + "." + info.name() + ":";
      }
    }
    if (filter.empty()) {
      std::fprintf(stderr, "no test in tests/%s.cc\n", file.c_str());
      return 2;
    }
    GTEST_FLAG_SET(filter, filter);
  }
  const int status = RUN_ALL_TESTS();
  const auto& unit = *testing::UnitTest::GetInstance();
  if (status == 0 && unit.skipped_test_count() > 0 && unit.successful_test_count() == 0) return 77;
  return status;
}
