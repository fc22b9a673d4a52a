// OutputFolder: its manifest knows what is ours, also after a kill, and nothing else is replaced.
#include "usol/io/output_folder.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace fs = std::filesystem;

namespace usol::io {
namespace {

using std::string_view;

TEST(OutputFolder, KnowsItsFilesLaterAndByTheirSize) {
  const test::TempDir dir;
  const std::vector<std::string> names = {"a.jpg", "sub/b c.jpg", "100%;\n.jpg", "x/../y.jpg"};
  {
    OutputFolder folder(dir / "out");
    EXPECT_FALSE(fs::exists(dir / "out")) << "nothing is made before something is written";
    for (const auto& name : names) folder.write(name, string_view("abc"));
  }
  const WrittenFiles written(dir / "out");
  OutputFolder later(dir / "out");
  for (const auto& name : names) {
    const std::string normal = fs::path(name).lexically_normal().generic_string();
    EXPECT_TRUE(written.lists(normal, 3)) << name;
    EXPECT_FALSE(written.lists(normal, 4)) << name;
    EXPECT_TRUE(later.may_write(name));
  }
  EXPECT_FALSE(written.lists("c.jpg", 3));
  later.write("a.jpg", string_view("longer"));
  EXPECT_EQ(test::read_text(dir / "out/a.jpg"), "longer");
  EXPECT_TRUE(WrittenFiles(dir / "out").lists("a.jpg", 6));
}

TEST(OutputFolder, RefusesWhatIsForeign) {
  const test::TempDir dir;
  OutputFolder(dir.path()).write("ours.jpg", string_view("abc"));
  test::write_text(dir / "mine.jpg", "mine");
  test::write_text(dir / "ours.jpg", "changed");
  fs::create_directory(dir / "folder.jpg");
  fs::create_symlink("mine.jpg", dir / "link.jpg");
  fs::create_symlink("nothing.jpg", dir / "dangling.jpg");
  OutputFolder folder(dir.path());
  for (const char* name : {"mine.jpg", "ours.jpg", "folder.jpg", "link.jpg"}) {
    EXPECT_FALSE(folder.may_write(name)) << name;
    EXPECT_THROW(folder.write(name, string_view("x")), Error) << name;
  }
  EXPECT_EQ(test::read_text(dir / "mine.jpg"), "mine");
  EXPECT_EQ(test::read_text(dir / "ours.jpg"), "changed");
  folder.write("dangling.jpg", string_view("x"));
  EXPECT_TRUE(fs::is_symlink(dir / "dangling.jpg"));
  EXPECT_EQ(test::read_text(dir / "nothing.jpg"), "x");
}

TEST(OutputFolder, AKillAtAnyByteOfTheManifestLosesNothing) {
  const test::TempDir dir;
  OutputFolder(dir / "whole").write("first.jpg", string_view("abc"));
  OutputFolder(dir / "whole").write("second.jpg", string_view("abcd"));
  const std::string manifest = test::read_text(dir / "whole/.usol-files");
  for (std::size_t bytes = 0; bytes <= manifest.size(); ++bytes) {
    const fs::path out = dir / std::to_string(bytes);
    test::write_text(out / ".usol-files", manifest.substr(0, bytes));
    const WrittenFiles cut(out);
    EXPECT_FALSE(cut.lists("first.jp", 3));
    EXPECT_FALSE(cut.lists("s", 4));
    OutputFolder(out).write("third.jpg", string_view("x"));
    const WrittenFiles after(out);
    EXPECT_TRUE(after.lists("third.jpg", 1)) << bytes;
    EXPECT_EQ(after.lists("first.jpg", 3), cut.lists("first.jpg", 3)) << bytes;
    EXPECT_FALSE(after.lists("second.jp", 4)) << bytes;
  }
  // Killed between the file and the line that says how long it is: it is ours all the same.
  test::write_text(dir / "k/.usol-files", "files written by usol 1\n? a.jpg;\n");
  test::write_text(dir / "k/a.jpg", "abc");
  EXPECT_TRUE(OutputFolder(dir / "k").may_write("a.jpg"));
}

TEST(OutputFolder, ProcessesAndThreadsWriteTogether) {
  const test::TempDir dir;
  OutputFolder one(dir.path(), "1of2"), two(dir.path(), "2of2");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) (t % 2 == 0 ? one : two).write(fmt::format("{}/{}.txt", t, i), string_view("x"));
    });
  for (auto& thread : threads) thread.join();
  const WrittenFiles written(dir.path());
  for (int t = 0; t < 4; ++t)
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(written.lists(fmt::format("{}/{}.txt", t, i), 1));
}

TEST(OutputFolder, AForeignManifestIsAnError) {
  const test::TempDir dir;
  test::write_text(dir / ".usol-files", "my notes");
  EXPECT_THROW(OutputFolder folder(dir.path()), Error);
  EXPECT_TRUE(is_manifest_name(".usol-files.1of2"));
  EXPECT_FALSE(is_manifest_name(".usol-files-old"));
}

}  // namespace
}  // namespace usol::io
