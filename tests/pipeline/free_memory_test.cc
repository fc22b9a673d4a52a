// What is free, from the files of a system that is made up.
#include "usol/pipeline/free_memory.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace usol {
namespace {

class FreeMemoryTest : public testing::Test {
 protected:
  FreeMemoryTest() {
    write("proc/meminfo", "MemTotal:       16000 kB\nMemFree:         1000 kB\nMemAvailable:    8000 kB\n");
  }
  void write(const std::string& name, const std::string& text) const { test::write_text(root_ / name, text); }
  double kib() const { return free_memory(root_.path()) / 1024; }

  test::TempDir root_;
};

TEST_F(FreeMemoryTest, IsWhatTheSystemHasAvailable) {
  EXPECT_EQ(kib(), 8000);
  EXPECT_GT(free_memory(), 1e6);
  EXPECT_LT(free_memory(), 1e15);
}

TEST_F(FreeMemoryTest, NoMoreThanAGroupAllows) {
  write("proc/self/cgroup", "0::/slurm/job\n");
  const std::string job = "sys/fs/cgroup/slurm/job/";
  write(job + "memory.max", "max\n");
  write(job + "memory.current", "1024000\n");
  EXPECT_EQ(kib(), 8000);
  write(job + "memory.max", "4096000\n");
  EXPECT_EQ(kib(), 3000);
  write(job + "memory.stat", "anon 512000\ninactive_file 204800\nactive_file 102400\n");  // files make room
  EXPECT_EQ(kib(), 3300);
  write(job + "memory.current", "204800\n");  // read before those files were: never more than is allowed
  EXPECT_EQ(kib(), 4000);
  write(job + "memory.current", "1024000\n");
  write("sys/fs/cgroup/slurm/memory.max", "1024000\n");  // the one around it
  EXPECT_EQ(kib(), 1000);
  write("sys/fs/cgroup/slurm/memory.current", "2048000\n");
  EXPECT_EQ(kib(), 0);
}

// What it is called outside of the container is nothing there.
TEST_F(FreeMemoryTest, AContainersGroupIsAtTheTop) {
  write("proc/self/cgroup", "0::/docker/3f\n");
  write("sys/fs/cgroup/memory.max", "4096000\n");
  EXPECT_EQ(kib(), 4000);
}

TEST_F(FreeMemoryTest, GroupsOfTheFirstVersion) {
  write("proc/self/cgroup", "9:name=systemd:/\n4:memory:/job\n3:cpuset:/\n0::/\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "4096000\n");
  write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "2048000\n");
  write("sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 1024000\n");
  EXPECT_EQ(kib(), 3000);
  write("proc/self/cgroup", "4:memory:/job\n3:cpuset:/other\n0::/other\n");
  write("sys/fs/cgroup/memory/other/memory.limit_in_bytes", "1024000\n");  // not the group that limits memory
  EXPECT_EQ(kib(), 3000);
}

}  // namespace
}  // namespace usol
