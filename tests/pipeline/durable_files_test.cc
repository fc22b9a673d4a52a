// What a power cut may leave: the order in which an image job's files and its journal reach the disk, as the calls to
// the operating system tell it. This file puts itself between the program and those calls.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/atomic_file.h"
#include "usol/io/output_folder.h"
#include "usol/pipeline/image_job.h"
#include "usol/tensor/parallel.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

struct DiskCall {
  enum class Kind { kWrite, kSync, kRename } kind;
  std::string path, more;  // what was written; the new name
};

std::atomic<bool> is_logging = false;
std::mutex log_mutex;
std::vector<DiskCall> disk_calls;

std::string path_of(int file) { return fs::read_symlink(fs::path("/proc/self/fd") / std::to_string(file)).string(); }

void log(DiskCall call) {
  const std::lock_guard lock(log_mutex);
  disk_calls.push_back(std::move(call));
}

}  // namespace
}  // namespace usol

// A call counts from when it has returned, but for writes, which count from when they begin.
extern "C" {

int fsync(int file) {
  const auto result = static_cast<int>(::syscall(SYS_fsync, file));
  if (usol::is_logging && result == 0) usol::log({usol::DiskCall::Kind::kSync, usol::path_of(file), {}});
  return result;
}

int fdatasync(int file) {
  const auto result = static_cast<int>(::syscall(SYS_fdatasync, file));
  if (usol::is_logging && result == 0) usol::log({usol::DiskCall::Kind::kSync, usol::path_of(file), {}});
  return result;
}

int rename(const char* from, const char* to) noexcept {
  const auto result = static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
  if (usol::is_logging && result == 0) usol::log({usol::DiskCall::Kind::kRename, from, to});
  return result;
}

ssize_t write(int file, const void* bytes, std::size_t count) {
  if (usol::is_logging)
    usol::log({usol::DiskCall::Kind::kWrite, usol::path_of(file), {static_cast<const char*>(bytes), count}});
  return ::syscall(SYS_write, file, bytes, count);
}

}  // extern "C"

namespace usol {
namespace {

TEST(DurableFiles, TheJournalNamesOnlyFilesThatAPowerCutLeavesWhole) {
  constexpr int kImages = 40;
  const test::TempDir folder;
  for (int i = 0; i < kImages; ++i) test::write_text(folder / ("in/" + std::to_string(100 + i) + ".jpg"), "x");
  const fs::path out = fs::canonical(folder.path()) / "out";
  ImageJob job;
  InputOptions inputs;
  inputs.inputs = {(folder / "in").string()};
  job.inputs = inputs.collect();
  job.output = out / "list.json";
  job.info = {{"description", "usol test"}};
  job.cost = PictureCost{};
  const usol::Run run;
  const auto files = job.add_folder(run, "out", out, ".bin");
  job.load = [files](const InputImage& input) -> ImageCompute {
    return [files, input] {
      ImageResult result;
      result.record.image = io::coco_image_json({input.id, 1, 1, input.file_name});
      result.save = [files, name = fs::path(input.file_name).stem().string() + ".bin"] {
        files->write(name, std::string(100'000, 'v'));
      };
      return result;
    };
  };
  set_thread_count(3);
  is_logging = true;
  const int status = run_image_job(run, job);
  is_logging = false;
  set_thread_count(0);
  ASSERT_EQ(status, kSuccess);

  using Kind = DiskCall::Kind;
  const auto calls = std::exchange(disk_calls, {});
  int records = 0;
  for (auto at = calls.begin(); at != calls.end(); ++at) {
    if (at->kind != Kind::kWrite || !at->path.ends_with(".journal")) continue;
    for (int i = 0; i < kImages; ++i) {
      if (!at->more.starts_with("{\"index\":" + std::to_string(i) + ",\"record\"")) continue;
      ++records;
      const std::string name = out / (std::to_string(100 + i) + ".bin");
      const auto is_rename = [&](const DiskCall& c) { return c.kind == Kind::kRename && c.more == name; };
      const auto renamed = std::find_if(calls.begin(), at, is_rename);
      ASSERT_NE(renamed, at) << name << " was not in place before its record";
      const auto is_sync_of = [](const std::string& path) {
        return [path](const DiskCall& c) { return c.kind == Kind::kSync && c.path == path; };
      };
      const auto synced = std::find_if(calls.begin(), renamed, is_sync_of(renamed->path));
      ASSERT_NE(synced, renamed) << name << " got its name before its bytes were on the disk";
      EXPECT_EQ(std::find_if(synced, renamed,
                             [&](const DiskCall& c) { return c.kind == Kind::kWrite && c.path == renamed->path; }),
                renamed)
          << name << " was written to after it was synced";
      EXPECT_NE(std::find_if(renamed, at, is_sync_of(out)), at) << name << ": the folder was not synced";
    }
  }
  EXPECT_EQ(records, kImages);
  const auto of_output = [&](const DiskCall& c) { return c.kind == Kind::kRename && c.more == job.output; };
  const auto renamed = std::find_if(calls.begin(), calls.end(), of_output);
  ASSERT_NE(renamed, calls.end());
  EXPECT_NE(std::find_if(calls.begin(), renamed,
                         [&](const DiskCall& c) { return c.kind == Kind::kSync && c.path == renamed->path; }),
            renamed);
}

}  // namespace
}  // namespace usol
