// AtomicFile: the target is whole or untouched.
#include "usol/io/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <string>

#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
auto files_in(const test::TempDir& dir) { return std::distance(std::filesystem::directory_iterator(dir.path()), {}); }

TEST(AtomicFile, ReplacesTheOldFileOnCommitOnly) {
  const test::TempDir dir;
  write_file(dir / "f", std::string_view("old"));
  AtomicFile file(dir / "f");
  file.write(std::string_view("new "));
  file.write(std::string_view("text"));
  EXPECT_EQ(file.size(), 8u);
  EXPECT_EQ(read_file(dir / "f"), "old");
  file.commit();
  EXPECT_EQ(read_file(dir / "f"), "new text");
  EXPECT_EQ(files_in(dir), 1);
  EXPECT_THROW(file.commit(), Error);
  EXPECT_THROW(file.write(std::string_view("x")), Error);
}

TEST(AtomicFile, LeavesNothingBehindWithoutCommit) {
  const test::TempDir dir;
  {
    AtomicFile file(dir / "f");
    file.write(std::string_view("half"));
  }
  EXPECT_EQ(files_in(dir), 0);
}

TEST(AtomicFile, HonoursTheUmask) {
  const test::TempDir dir;
  const mode_t old = ::umask(027);
  write_file(dir / "f", std::string_view("x"));
  ::umask(old);
  EXPECT_EQ(std::filesystem::status(dir / "f").permissions(), std::filesystem::perms(0640));
}

TEST(AtomicFile, WritesDevicesDirectlyAndRefusesFolders) {
  const test::TempDir dir;
  write_file("/dev/null", std::string_view("x"));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  EXPECT_THROW(AtomicFile file(dir.path()), Error);
  EXPECT_THROW(AtomicFile file(dir / "missing/f"), Error);
}

TEST(AtomicFile, WritesThroughLinksAndLeavesThem) {
  const test::TempDir dir;
  std::filesystem::create_directory(dir / "far");
  write_file(dir / "far/target", std::string_view("old"));
  for (const char* name : {"target", "new"}) {
    std::filesystem::create_symlink(std::string("far/") + name, dir / name);
    write_file(dir / name, std::string_view("text"));
    EXPECT_TRUE(std::filesystem::is_symlink(dir / name));
    EXPECT_EQ(read_file(dir / (std::string("far/") + name)), "text");
  }
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir / "far"), {}), 2) << "a temporary file is left";
}

// As long as a name may be: the temporary file's is not longer.
TEST(AtomicFile, TakesTheLongestNames) {
  const test::TempDir folder;
  std::string umlauts;
  for (int i = 0; i < 127; ++i) umlauts += "\u00fc";
  for (const std::string& name : {std::string(255, 'x'), umlauts}) {
    write_file(folder / name, "text");
    EXPECT_EQ(read_file(folder / name), "text");
  }
  EXPECT_EQ(hidden_name("a.json", ".1-2.tmp"), ".a.json.1-2.tmp");
  EXPECT_EQ(hidden_name(std::string(246, 'x'), ".1-2.tmp"), "." + std::string(246, 'x') + ".1-2.tmp");
  EXPECT_EQ(hidden_name(std::string(247, 'x'), ".1-2.tmp"), "." + std::string(246, 'x') + ".1-2.tmp");
  EXPECT_EQ(hidden_name("x" + umlauts, ".1-2.tmp"), ".x" + umlauts.substr(0, 244) + ".1-2.tmp");
  EXPECT_TRUE(is_temporary_name(hidden_name(umlauts, ".1-2.tmp")));
}

TEST(AtomicFile, LeftoversOfAFileAreThatFilesAlone) {
  const test::TempDir folder;
  const std::string longest(255, 'x');
  const std::string cut = hidden_name(longest, ".123-0.tmp");
  for (const std::string& name :
       {std::string(".a.json.123-0.tmp"), std::string(".a.json.7-11.tmp"), cut, std::string(".b.json.123-0.tmp"),
        std::string(".a.json.old.123-0.tmp"), std::string("a.json"), std::string(".a.json.tmp")})
    write_file(folder / name, "text");
  remove_temporaries_of(folder / "a.json");
  EXPECT_EQ(files_in(folder), 5) << "the two of a.json are gone";
  for (const char* name : {".b.json.123-0.tmp", ".a.json.old.123-0.tmp", "a.json", ".a.json.tmp"})
    EXPECT_TRUE(std::filesystem::exists(folder / name)) << name;
  remove_temporaries_of(folder / "x");
  EXPECT_EQ(files_in(folder), 5);
  remove_temporaries_of(folder / longest);
  EXPECT_EQ(files_in(folder), 4);
  remove_temporaries_of(folder / "missing/a.json");
}

TEST(AtomicFile, AFullDiskIsAnError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  try {
    write_file("/dev/full", std::string(1 << 20, 'x'));
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("No space left"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace usol::io
