// Where outputs really go, which names are one file, and what says that it was written by usol.
#include "usol/io/output_target.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/atomic_file.h"
#include "usol/io/origin.h"
#include "usol/io/pth.h"
#include "usol/io/safetensors.h"
#include "usol/tensor/error.h"

namespace fs = std::filesystem;

namespace usol::io {
namespace {

using Kind = OutputTarget::Kind;

TEST(OutputTarget, FollowsLinksToTheirEnd) {
  const test::TempDir dir;
  const fs::path real = fs::canonical(dir.path());
  fs::create_directories(dir / "a/b");
  test::write_text(dir / "file", "x");
  fs::create_symlink("../../file", dir / "a/b/up");
  fs::create_symlink("a/b/up", dir / "far");
  fs::create_symlink("a/none", dir / "dangling");
  fs::create_directory_symlink("a/b", dir / "door");
  EXPECT_EQ(output_target(dir / "far").kind, Kind::kFile);
  EXPECT_EQ(fs::canonical(output_target(dir / "far").path), real / "file");
  EXPECT_EQ(fs::canonical(output_target(dir / "door/up").path), real / "file");
  EXPECT_EQ(output_target(dir / "dangling").kind, Kind::kNew);
  EXPECT_EQ(resolved_path(output_target(dir / "dangling").path), real / "a/none");
  EXPECT_EQ(output_target(dir / "none").kind, Kind::kNew);
  EXPECT_EQ(output_target(dir / "door").kind, Kind::kFolder);
  EXPECT_EQ(resolved_path(dir / "door/../none"), real / "a/none");
  fs::create_symlink("loop2", dir / "loop1");
  fs::create_symlink("loop1", dir / "loop2");
  EXPECT_THROW(output_target(dir / "loop1"), Error);
}

TEST(OutputTarget, PipesDevicesAndDescriptorsAreStreams) {
  const test::TempDir dir;
  ASSERT_EQ(mkfifo((dir / "pipe").c_str(), 0600), 0);
  fs::create_symlink("pipe", dir / "to_pipe");
  fs::create_symlink("/proc/self/fd/1", dir / "out");
  fs::create_directory_symlink("/proc/self/fd", dir / "fds");
  EXPECT_TRUE(output_target(dir / "to_pipe").is_stream());
  EXPECT_EQ(output_target(dir / "to_pipe").descriptor, -1);
  EXPECT_TRUE(output_target("/dev/null").is_stream());
  EXPECT_EQ(output_target("/dev/stdout").descriptor, 1);
  EXPECT_EQ(output_target("/dev//stderr").descriptor, 2);
  EXPECT_EQ(output_target(dir / "out").descriptor, 1);
  EXPECT_EQ(output_target(dir / "fds/2").descriptor, 2);
  EXPECT_EQ(own_descriptor("/dev/fd/17"), 17);
  EXPECT_EQ(own_descriptor("/proc/self/fd/1x"), -1);
  EXPECT_EQ(own_descriptor("/proc/1/fd/1"), ::getpid() == 1 ? 1 : -1);
}

TEST(OutputTarget, OneFileHasOneIdentity) {
  const test::TempDir dir;
  test::write_text(dir / "a", "x");
  test::write_text(dir / "b", "x");
  fs::create_hard_link(dir / "a", dir / "hard");
  fs::create_symlink("a", dir / "soft");
  EXPECT_EQ(file_identity(dir / "a"), file_identity(dir / "hard"));
  EXPECT_EQ(file_identity(dir / "a"), file_identity(dir / "soft"));
  EXPECT_NE(file_identity(dir / "a"), file_identity(dir / "b"));
  EXPECT_FALSE(file_identity(dir / "none"));
}

TEST(Origin, TellsOursFromOthers) {
  const test::TempDir dir;
  const auto ours = [&](const std::string& content) {
    test::write_text(dir / "f", content);
    return written_by_usol(dir / "f");
  };
  EXPECT_TRUE(ours(R"({"images": [], "info": {"description": "usol maskcut"}})"));
  EXPECT_TRUE(ours(R"({"usol_journal":1,"header":{}})"
                   "\n{\"index\":0"));
  EXPECT_TRUE(ours(R"({"usol_self_train": 1, "stages": []})"));
  EXPECT_TRUE(ours(R"({"images": 2, "seconds": {"cuts": 1}})")) << "times of stages, as they were written before";
  EXPECT_TRUE(ours("# usol train --config THIS_FILE\n"));
  EXPECT_TRUE(ours("<!DOCTYPE html>\n<meta name=\"generator\" content=\"usol\">"));
  for (const char* nothing : {"", " \n", "{}", "[ ]\n"}) EXPECT_TRUE(ours(nothing)) << nothing;

  EXPECT_FALSE(ours(R"({"images": [], "info": {"description": "COCO 2017"}})"));
  EXPECT_FALSE(ours(R"({"images": [{"info": {"description": "usol maskcut"}}]})"));
  EXPECT_FALSE(ours(R"({"images": [], "seconds": {}, "more": 1})"));
  EXPECT_FALSE(ours("[1]"));
  EXPECT_FALSE(ours("usol"));
  EXPECT_FALSE(ours("<!DOCTYPE html>\n<p>usol"));
  EXPECT_FALSE(ours(std::string(64, '\xff')));
  EXPECT_FALSE(written_by_usol(dir / "none"));
  EXPECT_FALSE(written_by_usol(dir.path()));

  const std::map<std::string, Tensor> tensors{{"a", Tensor::zeros({2})}};
  save_safetensors(dir / "t", tensors, {{"info", R"({"description": "usol features"})"}});
  EXPECT_TRUE(written_by_usol(dir / "t"));
  save_safetensors(dir / "t", tensors, {{"format", "pt"}});
  EXPECT_FALSE(written_by_usol(dir / "t"));
  save_pth(dir / "t.pth", tensors);
  EXPECT_TRUE(written_by_usol(dir / "t.pth"));
}

TEST(Origin, NamesOfTemporaryFiles) {
  EXPECT_TRUE(is_temporary_name(".a.json.123-4.tmp"));
  for (const char* name : {".a.tmp", "a.1-2.tmp", ".a.1-2", ".1-2.tmp", ".a.1-x.tmp", ".a.-2.tmp", ".tmp", ""})
    EXPECT_FALSE(is_temporary_name(name)) << name;
}

}  // namespace
}  // namespace usol::io
