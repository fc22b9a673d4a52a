// The installed library, used as a stranger would: installed into a new folder, found there by a project outside the
// source tree, its examples built and run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/tensor/kernel.h"

namespace usol {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::HasSubstr;

test::ProcessResult run(std::vector<std::string> words) { return test::run_process(std::move(words)); }

// Installs the build into a folder whose name has a space, once for all tests of this file.
class Installed : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    const auto installed = run({"/usr/bin/env", "cmake", "--install", tree().string(), "--prefix", prefix().string()});
    ASSERT_EQ(installed.status, 0) << installed.err;
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  void SetUp() override {
    if (!fs::exists(prefix() / "lib/cmake/usol/usol-config.cmake")) GTEST_SKIP() << "this build makes no library";
  }

  static fs::path tree() { return fs::path(test::usol_binary()).parent_path(); }
  static fs::path prefix() { return *folder_ / "some where"; }
  // Configures and builds a project against the installed library; `to`: its build folder.
  static void build(const fs::path& source, const fs::path& to) {
    const auto configured = run({"/usr/bin/env", "cmake", "-G", "Ninja", "-S", source.string(), "-B", to.string(),
                                 "-DCMAKE_PREFIX_PATH=" + prefix().string()});  // not optimised: compiled quickly
    ASSERT_EQ(configured.status, 0) << configured.out << configured.err;
    const auto built = run({"/usr/bin/env", "cmake", "--build", to.string()});
    ASSERT_EQ(built.status, 0) << built.out << built.err;
  }

  static test::TempDir* folder_;
};
test::TempDir* Installed::folder_ = nullptr;

TEST_F(Installed, TheExamplesBuildAndRun) {
  const fs::path to = *folder_ / "examples";
  build(prefix() / "share/usol/examples", to);
  const auto example = [&](const std::string& name, const std::vector<std::string>& words = {}) {
    std::vector<std::string> command{(to / name).string()};
    command.insert(command.end(), words.begin(), words.end());
    const auto result = run(command);
    EXPECT_EQ(result.status, 0) << name << ": " << result.out << result.err;
    return result.out;
  };
  for (const char* name : {"own_network", "own_layer", "own_op"}) example(name);

  // The masks of a picture are those of the binary.
  const std::string pictures = test::source_path("tests/pictures"), picture = pictures + "/raccoon.jpg";
  const Json masks = Json::parse(example("masks", {picture}));
  const auto binary = test::run_usol({"maskcut", picture, "--backbone", "contrast", "--out", "-"});
  ASSERT_EQ(binary.status, 0) << binary.err;
  EXPECT_FALSE(masks["annotations"].empty());
  EXPECT_EQ(masks["annotations"], Json::parse(binary.out)["annotations"]);

  // A small detector, made and looked at.
  test::write_text(*folder_ / "small.toml",
                   "[train]\nblocks = [1, 1, 1, 1]\nresnet-channels = 16\nchannels = 16\nhidden = 32\nstages = 1\n"
                   "short-sides = [64]\nlong-side = 128\nbatch = 2\nreference-batch = 2\nwarmup = 1\nproposals = 50\n"
                   "precise-bn = 0\niterations = 3\nsteps = [2]\n");
  const fs::path out = *folder_ / "trained";
  example("train_a_detector", {*folder_ / "small.toml", pictures, out.string()});
  example("detect", {(out / "detector/model_final.safetensors").string(), picture, *folder_ / "found.jpg"});
  EXPECT_TRUE(fs::exists(*folder_ / "found.jpg"));

  // The whole loop with that detector, scored against the masks above; a second call finds everything done.
  test::write_text(
      *folder_ / "loop.toml",
      "[self-train]\nrounds = 1\nthresholds = [0]\ntrain-config = \"small.toml\"\nround-config = "
      "\"small.toml\"\n[maskcut]\nbackbone = \"colour\"\nsize = 96\n[predict]\nshort-side = 64\nlong-side = 128\n");
  const std::vector<std::string> loop{*folder_ / "loop.toml", pictures, *folder_ / "loop", out / "masks.json",
                                      pictures};
  const std::string scores = example("self_training", loop);
  for (const char* text : {"base: ", "round1: ", "box AP50 ", "mask AP50 "}) EXPECT_THAT(scores, HasSubstr(text));
  EXPECT_EQ(example("self_training", loop), scores);
}

// A program that calls nothing of the static library has all its kernels all the same.
TEST_F(Installed, AllHeadersCompileAndTheStaticLibraryKeepsWhatRegistersItself) {
  const fs::path source = *folder_ / "stranger";
  fs::create_directories(source);
  std::string text;
  for (const auto& entry : fs::recursive_directory_iterator(prefix() / "include/usol"))
    if (entry.path().extension() == ".h")
      text += "#include <" + fs::relative(entry.path(), prefix() / "include").generic_string() + ">\n";
  EXPECT_THAT(text, HasSubstr("<usol/maskcut/maskcut.h>"));
  text +=
      "#include <cstdio>\n"
      "int main() { std::printf(\"%zu\", usol::filled_kernel_slots().size()); }\n";
  test::write_text(source / "all.cc", text);
  test::write_text(source / "CMakeLists.txt",
                   "cmake_minimum_required(VERSION 3.24)\n"
                   "project(stranger LANGUAGES CXX)\n"
                   "find_package(usol 0.2 REQUIRED COMPONENTS static)\n"
                   "add_executable(stranger all.cc)\n"
                   "target_link_libraries(stranger PRIVATE usol::static)\n");
  build(source, *folder_ / "stranger-build");
  const auto result = run({(*folder_ / "stranger-build/stranger").string()});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, std::to_string(filled_kernel_slots().size()));
}

TEST_F(Installed, PkgConfigGivesFlagsOfTheFolderItLiesIn) {
  const auto flags = run({"/usr/bin/env", "PKG_CONFIG_PATH=" + (prefix() / "lib/pkgconfig").string(), "pkg-config",
                          "--cflags", "--libs", "usol"});
  ASSERT_EQ(flags.status, 0) << flags.err;
  EXPECT_THAT(flags.out, HasSubstr("-lusol"));
  EXPECT_THAT(flags.out, HasSubstr("include"));
  EXPECT_THAT(flags.out, HasSubstr("-std=c++20"));
}

}  // namespace
}  // namespace usol
