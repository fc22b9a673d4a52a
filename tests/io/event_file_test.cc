// Event files against one that TensorBoard's own writer made, and after a crash.
#include "usol/io/event_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "tests/support/temp_dir.h"
#include "usol/tensor/error.h"

namespace usol::io {
namespace {

// RFC 3720, appendix B.4.
TEST(Crc32c, EqualsThePublishedExamples) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
}

TEST(EventFile, TensorBoardsIsRead) {
  const auto records = read_events(test::golden_path("tensorboard_events.bin"));
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(records[0].file_version, "brain.Event:2");
  EXPECT_EQ(records[1].wall_time, 1700000000.25);
  EXPECT_EQ(records[1].step, 19);
  EXPECT_EQ(records[1].scalars, (std::map<std::string, float>{{"total_loss", 1.5F}, {"lr", -0.25F}}));
  EXPECT_EQ(records[2].step, std::int64_t{1} << 40);
  EXPECT_EQ(records[3].pictures.at("batch").encoded, "not a picture");
  EXPECT_EQ(records[3].pictures.at("batch").height, 300);
  EXPECT_EQ(records[3].pictures.at("batch").width, 5);
}

// The same events, but for the time of the first record, are the same bytes.
TEST(EventFile, BytesAreTensorBoards) {
  const test::TempDir folder;
  const auto path = folder / "events.out.tfevents.x";
  EventFile file(path, 0);
  file.add(19, {{"lr", -0.25}, {"total_loss", 1.5}});
  file.add(std::int64_t{1} << 40, {{"a", 3}});
  const std::string text = "not a picture";
  file.add_picture(20, "batch", 300, 5, std::as_bytes(std::span(text)));
  const std::string ours = test::read_text(path), theirs = test::read_text(test::golden_path("tensorboard_events.bin"));
  ASSERT_EQ(ours.size(), theirs.size());
  // Times of the four records and the checksums behind them differ; nothing else does.
  const auto a = read_events(path), b = read_events(test::golden_path("tensorboard_events.bin"));
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].step, b[i].step);
    EXPECT_EQ(a[i].scalars, b[i].scalars);
    EXPECT_GT(a[i].wall_time, 1.7e9);
  }
  std::size_t same = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) same += ours[i] == theirs[i] ? 1 : 0;
  EXPECT_GE(same + a.size() * 12, ours.size());
}

TEST(EventFile, GoesOnAfterACrash) {
  const test::TempDir folder;
  const auto path = folder / "events.out.tfevents.x";
  {
    EventFile file(path, 0);
    for (int step = 0; step < 5; ++step) file.add(step, {{"loss", 0.5 * step}});
  }
  const std::string whole = test::read_text(path);
  test::write_text(path, whole.substr(0, whole.size() - 3));  // cut short
  EXPECT_EQ(read_events(path).size(), 5u);
  EventFile file(path, 3);
  file.add(3, {{"loss", 7}});
  const auto records = read_events(path);
  ASSERT_EQ(records.size(), 5u);
  EXPECT_EQ(records[3].step, 2);
  EXPECT_EQ(records[4].scalars.at("loss"), 7);
  std::string broken = test::read_text(path);
  broken[broken.size() - 10] = static_cast<char>(broken[broken.size() - 10] ^ 1);
  test::write_text(path, broken);
  EXPECT_EQ(read_events(path).size(), 4u);  // its checksum is wrong
  EXPECT_THROW(read_events(folder / "none"), Error);
}

}  // namespace
}  // namespace usol::io
