#pragma once
// Puts the files of finished pictures on the disk while the next ones are computed, several pictures' files at a time:
// each file is synced before it counts (io/atomic_file.h), and a disk syncs many at once in little more than the time
// of one. In the pipeline: between pipeline/pictures_in_work.h and the journal.

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "usol/pipeline/image_job.h"

namespace usol {

class PictureWriter {
 public:
  /// What may wait for the disk at most, though one picture always may: pictures, which is also the number of threads,
  /// and ImageResult::saved_bytes.
  struct Limits {
    int pictures = 16;
    std::uint64_t bytes = 64'000'000;
  };

  /// `record` is called with each picture in the order in which they were added, one at a time and on any thread, once
  /// `save` of it has returned. Nothing is recorded after the first exception that `save` or `record` threw.
  explicit PictureWriter(std::function<void(const DonePicture&)> record);
  PictureWriter(std::function<void(const DonePicture&)> record, const Limits& limits);
  /// Saves and records what was added. What goes wrong then is lost: call finish() first unless another error is on
  /// its way.
  ~PictureWriter();
  PictureWriter(const PictureWriter&) = delete;
  PictureWriter& operator=(const PictureWriter&) = delete;

  /// Has the picture saved and recorded; waits while too much is on its way to the disk. Rethrows what `save` or
  /// `record` threw.
  void add(DonePicture picture);
  /// Waits until everything added is recorded. Rethrows as add() does.
  void finish();

 private:
  struct Entry {
    DonePicture picture;
    bool is_saved = false;
    std::exception_ptr error = {};  // that `save` threw
  };

  void run();
  void record_saved();
  bool has_room(std::uint64_t bytes) const;
  void wait_until_recorded(std::unique_lock<std::mutex>& lock);

  std::function<void(const DonePicture&)> record_;
  Limits limits_;
  std::mutex mutex_;  // also while recording
  std::condition_variable added_, recorded_;
  std::deque<Entry> entries_;  // added and not recorded; what is in work stays where it is while others come and go
  std::size_t begun_ = 0;      // of them, the first ones
  std::uint64_t bytes_ = 0;    // of them all
  std::size_t idle_ = 0;       // threads that wait for work
  std::exception_ptr error_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;  // started as they are needed
};

}  // namespace usol
