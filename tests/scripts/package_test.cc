// What scripts/package relies on, as far as it is quick to check: an installed usol runs from any folder, and the
// scripts know the version. The packages themselves are made and tried by scripts/nightly.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/io/image_formats.h"
#include "usol/pipeline/version.h"

namespace usol {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(Package, AnInstalledUsolRunsAndBringsItsDocuments) {
  const test::TempDir folder;
  const fs::path tree = fs::path(test::usol_binary()).parent_path(), to = folder / "some where";
  const auto installed =
      test::run_process({"/usr/bin/env", "cmake", "--install", tree.string(), "--prefix", to.string()});
  ASSERT_EQ(installed.status, 0) << installed.err;
  const auto run = test::run_process({(to / "bin/usol").string(), "--version"});
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_EQ(run.out,
            fmt::format("usol {}\nbuilt with {}\nreads {}\n", version(), built_with(), io::readable_formats()));
  for (const char* file : {"share/doc/usol/copyright", "share/doc/usol/README.md", "share/doc/usol/docs/clusters.md",
                           "share/usol/download-weights"}) {
    EXPECT_TRUE(fs::exists(to / file)) << file;
  }
}

TEST(Package, TheScriptExplainsItself) {
  const auto help = test::run_process({test::source_path("scripts/package")});
  EXPECT_EQ(help.status, 2);
  for (const char* part : {"static", "folder", "deb", "check", "all"}) EXPECT_THAT(help.err, HasSubstr(part));
}

// The names of the archives are made from the version in CMakeLists.txt.
TEST(Package, TheVersionIsFoundInTheBuildFile) {
  EXPECT_THAT(test::read_text(test::source_path("CMakeLists.txt")),
              HasSubstr("project(usol VERSION " + std::string(version()) + " "));
}

}  // namespace
}  // namespace usol
