// scripts/download-weights, with a folder in place of the server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"

namespace usol {
namespace {

using testing::HasSubstr;

class DownloadWeights : public testing::Test {
 protected:
  test::ProcessResult download(const std::string& argument) {
    return test::run_process({test::source_path("scripts/download-weights"), argument},
                             {.environment = {{"USOL_WEIGHTS_DIR", (dir_ / "cache").string()},
                                              {"USOL_WEIGHTS_MIRROR", "file://" + (dir_ / "server").string()}}});
  }
  std::filesystem::path served() const { return dir_ / "server" / kPath; }
  std::filesystem::path cached() const { return dir_ / "cache" / "dino_deitsmall16_pretrain.pth"; }

  static constexpr const char* kPath = "dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth";
  test::TempDir dir_;
};

TEST_F(DownloadWeights, FetchesOncePinsTheHashAndPrintsThePath) {
  test::write_text(served(), "PK\3\4weights");
  const auto first = download("dino_vits16");
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_EQ(first.out, cached().string() + "\n");
  EXPECT_THAT(first.err, HasSubstr("licence: Apache-2.0"));
  EXPECT_THAT(first.err, HasSubstr("unverified"));
  EXPECT_EQ(test::read_text(cached()), "PK\3\4weights");

  std::filesystem::remove(served());  // the second time no server is needed
  const auto second = download("dino_vits16");
  EXPECT_EQ(second.status, 0) << second.err;
  EXPECT_THAT(second.err, HasSubstr("unchanged since first fetched"));

  test::write_text(cached(), "PK\3\4tampered");
  const auto changed = download("dino_vits16");
  EXPECT_EQ(changed.status, 1);
  EXPECT_EQ(changed.out, "");
  EXPECT_THAT(changed.err, HasSubstr("when first fetched"));
}

TEST_F(DownloadWeights, APublishedHashIsChecked) {
  const auto file = dir_ / "server/valeoai/FOUND/main/data/weights/decoder_weights.pt";
  test::write_text(file, "PK\3\4another layer");
  const auto other = download("found_vits8");
  EXPECT_EQ(other.status, 1);
  EXPECT_EQ(other.out, "");
  EXPECT_THAT(other.err, HasSubstr("https://github.com/valeoai/FOUND"));
  EXPECT_THAT(other.err, HasSubstr("published is 47ff2a4af3db"));
}

TEST_F(DownloadWeights, GoesOnWhereItStopped) {
  test::write_text(served(), "PK\3\4weights");
  test::write_text(cached().string() + ".part", "PK\3\4WEI");  // upper case shows that these bytes were kept
  const auto run = download("dino_vits16");
  EXPECT_EQ(run.status, 0) << run.err;
  EXPECT_EQ(test::read_text(cached()), "PK\3\4WEIghts");
}

TEST_F(DownloadWeights, OfflineIsAQuickErrorThatLeavesNothing) {
  const auto run = download("dino_vits16");
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.err, HasSubstr("offline?"));
  EXPECT_FALSE(std::filesystem::exists(cached()));
}

TEST_F(DownloadWeights, AnErrorPageIsNoFileOfWeights) {
  test::write_text(served(), "<html>not found</html>");
  const auto run = download("dino_vits16");
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.err, HasSubstr("no PyTorch file"));
  EXPECT_FALSE(std::filesystem::exists(cached()));
}

TEST_F(DownloadWeights, ListsNamesAndRefusesUnknownOnes) {
  const auto list = download("--list");
  EXPECT_EQ(list.status, 0);
  for (const char* name : {"dino_vits16 ", "dino_vitb8 ", "dino_resnet50 ", "dinov2_vitl14_reg "}) {
    EXPECT_THAT(list.out, HasSubstr(name));
  }
  const auto unknown = download("dino_vits17");
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.err, HasSubstr("unknown name 'dino_vits17'"));
}

}  // namespace
}  // namespace usol
