// scripts/kernel-table, on words of the compiler that are written here: the table of a real build is the test
// cuda/kernels.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace usol {
namespace {

using testing::HasSubstr;
using testing::Not;

test::ProcessResult kernel_table(std::vector<std::string> words) {
  words.insert(words.begin(), test::source_path("scripts/kernel-table"));
  return test::run_process(words);
}

// By hand from the limits of the CUDA C++ Programming Guide: 65536 registers, 64 warps, 228 or 164 KiB.
TEST(KernelTable, WarpsOfAMultiprocessor) {
  const auto warps = [](const char* arch, const char* threads, const char* registers, const char* shared) {
    return kernel_table({"warps", arch, threads, registers, shared}).out;
  };
  EXPECT_EQ(warps("sm_90", "256", "32", "0"), "64\n");
  EXPECT_EQ(warps("sm_90", "256", "33", "0"), "48\n");  // 40 registers are given out: 51 warps, whole blocks of 8
  EXPECT_EQ(warps("sm_90", "256", "255", "0"), "8\n");  // 8 warps
  EXPECT_EQ(warps("sm_90", "1024", "64", "0"), "32\n");
  EXPECT_EQ(warps("sm_90", "1024", "65", "0"), "0\n");      // such a launch is refused
  EXPECT_EQ(warps("sm_90", "32", "16", "0"), "32\n");       // 32 blocks at most
  EXPECT_EQ(warps("sm_90", "256", "32", "66560"), "24\n");  // three of 66 KiB
  EXPECT_EQ(warps("sm_80", "256", "32", "66560"), "16\n");
  EXPECT_EQ(warps("sm_90", "256", "32", "76800"), "24\n");  // a block takes 1 KiB more
  EXPECT_EQ(warps("sm_90", "256", "32", "76801"), "16\n");
  EXPECT_EQ(warps("sm_80", "256", "32", "167936"), "0\n");  // 164 KiB, of which one block may take 163
}

class KernelTableCheck : public testing::Test {
 protected:
  // Of a kernel that is launched with 256 threads and no dynamic shared memory.
  test::ProcessResult check(int registers, int spilled, const std::string& listed = "a_kernel", int stack = 0) {
    test::write_text(folder_ / "objects/a.cu.o.usage",
                     "ptxas info    : 0 bytes gmem\n"
                     "ptxas info    : Compiling entry function '_ZN4usol8a_kernelIfEEvPKT_' for 'sm_90'\n"
                     "ptxas info    : Function properties for _ZN4usol8a_kernelIfEEvPKT_\n"
                     "    " +
                         std::to_string(stack) + " bytes stack frame, " + std::to_string(spilled) +
                         " bytes spill stores, 0 bytes spill loads\n"
                         "ptxas info    : Used " +
                         std::to_string(registers) +
                         " registers, used 1 barriers, 8 bytes cumulative stack size, 128 bytes smem\n");
    test::write_text(folder_ / "page.md",
                     "| `" + listed + "` | 1 | 256 | 128 + 0 | 32, 32, 32 | 0 | 0 | 64, 64, 64 |\n");
    return kernel_table({"check", (folder_ / "objects").string(), (folder_ / "page.md").string()});
  }
  test::TempDir folder_;
};

TEST_F(KernelTableCheck, ASpillAndTooFewWarpsAreFaults) {
  const auto good = check(64, 0);
  EXPECT_EQ(good.status, 0) << good.err;
  EXPECT_EQ(good.out, "1 kernels, 1 instances: 0 faults\n");
  const auto spilled = check(64, 12);
  EXPECT_EQ(spilled.status, 1);
  EXPECT_THAT(spilled.err, HasSubstr("a_kernel on sm_90: 12 bytes of spilled registers"));
  EXPECT_THAT(spilled.err, Not(HasSubstr("warps")));
  const auto local = check(64, 0, "a_kernel", 160);
  EXPECT_EQ(local.status, 1);
  EXPECT_THAT(local.err, HasSubstr("a_kernel on sm_90: 160 bytes of local memory"));
  EXPECT_EQ(check(80, 0).status, 0);
  const auto few = check(81, 0);
  EXPECT_EQ(few.status, 1);
  EXPECT_THAT(few.err, HasSubstr("a_kernel on sm_90: 16 warps, at least 24 are asked for"));
}

TEST_F(KernelTableCheck, ThePageAndTheBuildHaveTheSameKernels) {
  const auto other = check(64, 0, "another_kernel");
  EXPECT_EQ(other.status, 1);
  EXPECT_THAT(other.err, HasSubstr("a_kernel: not in docs/kernels.md"));
  EXPECT_THAT(other.err, HasSubstr("another_kernel: in docs/kernels.md, but no such kernel was compiled"));
  const auto none = kernel_table({"check", (folder_ / "nothing").string()});
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.err, HasSubstr("no *.usage"));
}

// The compiler's other words, and its exit status, are passed on.
TEST_F(KernelTableCheck, TheUsageIsKeptBesideTheObject) {
  const std::string object = (folder_ / "b.o").string();
  const auto kept =
      test::run_process({test::source_path("scripts/keep-usage"), object, "/bin/sh", "-c",
                         "echo 'ptxas info    : Used 8 registers' >&2; echo 'b.cu: warning' >&2; exit 3"});
  EXPECT_EQ(kept.status, 3);
  EXPECT_EQ(kept.err, "b.cu: warning\n");
  EXPECT_EQ(test::read_text(object + ".usage"), "ptxas info    : Used 8 registers\n");
}

}  // namespace
}  // namespace usol
