// Files of pictures: many on their way to the disk at a time, records in order and never before their files.
#include "usol/pipeline/picture_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace usol {
namespace {

// A picture whose `save` returns when it is told to.
class HeldSaves {
 public:
  explicit HeldSaves(std::size_t count) : states_(count) {}

  DonePicture picture(std::size_t i, std::uint64_t bytes = 0) {
    DonePicture done;
    done.index = static_cast<std::int64_t>(i);
    done.result.saved_bytes = bytes;
    done.result.save = [this, i] {
      std::unique_lock lock(mutex_);
      states_[i].begun = true;
      most_ = std::max(most_, ++now_);
      changed_.notify_all();
      changed_.wait(lock, [&] { return states_[i].may_end; });
      --now_;
      states_[i].ended = true;
      if (states_[i].fails) throw std::runtime_error("no room");
    };
    return done;
  }
  void let_end(std::size_t i, bool fails = false) {
    const std::lock_guard lock(mutex_);
    states_[i].may_end = true;
    states_[i].fails = fails;
    changed_.notify_all();
  }
  // False after five seconds.
  bool wait_for_begin(std::size_t i) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(5), [&] { return states_[i].begun; });
  }
  bool has_begun(std::size_t i) {
    const std::lock_guard lock(mutex_);
    return states_[i].begun;
  }
  bool has_ended(std::size_t i) {
    const std::lock_guard lock(mutex_);
    return states_[i].ended;
  }
  int most_at_a_time() {
    const std::lock_guard lock(mutex_);
    return most_;
  }

 private:
  struct State {
    bool begun = false, may_end = false, fails = false, ended = false;
  };
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<State> states_;
  int now_ = 0, most_ = 0;
};

std::vector<std::int64_t> first(std::int64_t count) {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

TEST(PictureWriter, RecordsInOrderAndOnlyWhatIsSaved) {
  constexpr std::size_t kCount = 6;
  HeldSaves saves(kCount);
  std::vector<std::int64_t> recorded;
  PictureWriter writer([&](const DonePicture& done) {
    EXPECT_TRUE(saves.has_ended(static_cast<std::size_t>(done.index))) << done.index;
    recorded.push_back(done.index);
  });
  for (std::size_t i = 0; i < kCount; ++i) writer.add(saves.picture(i));
  for (std::size_t i = 0; i < kCount; ++i) EXPECT_TRUE(saves.wait_for_begin(i)) << "all are under way at a time: " << i;
  for (std::size_t i = kCount; i-- > 0;) saves.let_end(i);  // the first one ends last
  writer.finish();
  EXPECT_EQ(recorded, first(kCount));
}

TEST(PictureWriter, AnyOrderOfSavesGivesTheSameRecords) {
  std::minstd_rand random(1);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::int64_t> recorded;
    std::vector<std::atomic<bool>> saved(50);
    {
      PictureWriter writer([&](const DonePicture& done) {
        EXPECT_TRUE(saved[static_cast<std::size_t>(done.index)]);
        recorded.push_back(done.index);
      });
      for (std::size_t i = 0; i < saved.size(); ++i) {
        DonePicture done;
        done.index = static_cast<std::int64_t>(i);
        saved[i] = random() % 4 == 0;  // those have no files
        if (!saved[i])
          done.result.save = [&saved, i, wait = random() % 300] {
            std::this_thread::sleep_for(std::chrono::microseconds(wait));
            saved[i] = true;
          };
        writer.add(std::move(done));
      }
    }  // the destructor saves what was added
    EXPECT_EQ(recorded, first(50));
  }
}

TEST(PictureWriter, PicturesWithoutFilesAreRecordedAtOnce) {
  std::vector<std::int64_t> recorded;
  PictureWriter writer([&, caller = std::this_thread::get_id()](const DonePicture& done) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    recorded.push_back(done.index);
  });
  for (std::int64_t i = 0; i < 3; ++i) {
    DonePicture done;
    done.index = i;
    if (i == 1) done.error = std::make_exception_ptr(std::runtime_error("this picture's"));
    writer.add(std::move(done));
    EXPECT_EQ(recorded, first(i + 1));
  }
  writer.finish();
}

TEST(PictureWriter, WaitsWhileTooMuchIsOnItsWay) {
  struct Case {
    PictureWriter::Limits limits;
    std::uint64_t bytes_of_each;
    int at_a_time;
  };
  for (const Case& c : {Case{{.pictures = 3}, 1, 3}, Case{{.pictures = 9, .bytes = 100}, 50, 2},
                        Case{{.pictures = 9, .bytes = 100}, 51, 1}, Case{{.pictures = 9, .bytes = 100}, 101, 1}}) {
    constexpr std::size_t kCount = 6;
    HeldSaves saves(kCount);
    std::vector<std::int64_t> recorded;
    PictureWriter writer([&](const DonePicture& done) { recorded.push_back(done.index); }, c.limits);
    std::thread adds([&] {
      for (std::size_t i = 0; i < kCount; ++i) writer.add(saves.picture(i, c.bytes_of_each));
    });
    const auto at_a_time = static_cast<std::size_t>(c.at_a_time);
    for (std::size_t i = 0; i < kCount; ++i) {
      for (std::size_t j = i; j < std::min(i + at_a_time, kCount); ++j) EXPECT_TRUE(saves.wait_for_begin(j));
      EXPECT_TRUE(i + at_a_time >= kCount || !saves.has_begun(i + at_a_time));
      saves.let_end(i);
    }
    adds.join();
    writer.finish();
    EXPECT_EQ(saves.most_at_a_time(), c.at_a_time);
    EXPECT_EQ(recorded, first(kCount));
  }
}

TEST(PictureWriter, AfterAFailureOnlyWhatCameBeforeIsRecorded) {
  HeldSaves saves(5);
  std::vector<std::int64_t> recorded;
  PictureWriter writer([&](const DonePicture& done) { recorded.push_back(done.index); });
  for (std::size_t i = 0; i < 4; ++i) writer.add(saves.picture(i));
  for (const std::size_t i : {3, 1}) saves.let_end(i);
  saves.let_end(2, true);
  saves.let_end(0);
  EXPECT_THROW(writer.finish(), std::runtime_error);
  EXPECT_THROW(writer.add(saves.picture(4)), std::runtime_error);
  EXPECT_EQ(recorded, first(2));
  EXPECT_FALSE(saves.has_begun(4));
}

TEST(PictureWriter, ARecordThatFailsIsTheLast) {
  int calls = 0;
  HeldSaves saves(2);
  PictureWriter writer([&](const DonePicture&) {
    ++calls;
    throw std::runtime_error("journal full");
  });
  for (std::size_t i = 0; i < 2; ++i) writer.add(saves.picture(i));
  for (std::size_t i = 0; i < 2; ++i) saves.let_end(i);
  EXPECT_THROW(writer.finish(), std::runtime_error);
  EXPECT_EQ(calls, 1);
  PictureWriter without_files([](const DonePicture&) { throw std::runtime_error("journal full"); });
  EXPECT_THROW(without_files.add({}), std::runtime_error);
}

}  // namespace
}  // namespace usol
