#include "usol/pipeline/picture_writer.h"

#include <utility>

namespace usol {

PictureWriter::PictureWriter(std::function<void(const DonePicture&)> record)
    : PictureWriter(std::move(record), Limits{}) {}

PictureWriter::PictureWriter(std::function<void(const DonePicture&)> record, const Limits& limits)
    : record_(std::move(record)), limits_(limits) {}

PictureWriter::~PictureWriter() {
  {
    std::unique_lock lock(mutex_);
    wait_until_recorded(lock);
    stopping_ = true;
  }
  added_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void PictureWriter::add(DonePicture picture) {
  std::unique_lock lock(mutex_);
  const std::uint64_t bytes = picture.result.saved_bytes;
  recorded_.wait(lock, [&] { return error_ || has_room(bytes); });
  if (error_) std::rethrow_exception(error_);
  const bool has_files = static_cast<bool>(picture.result.save);
  entries_.push_back({.picture = std::move(picture)});
  bytes_ += bytes;
  if (has_files && idle_ < entries_.size() - begun_ && threads_.size() < static_cast<std::size_t>(limits_.pictures)) {
    threads_.emplace_back([this] { run(); });
  } else if (!has_files && entries_.size() == 1) {
    // Without files there is nothing to wait for, nor before it.
    entries_.front().is_saved = true;
    begun_ = 1;
    record_saved();
    if (error_) std::rethrow_exception(error_);
    return;
  }
  lock.unlock();
  added_.notify_one();
}

void PictureWriter::finish() {
  std::unique_lock lock(mutex_);
  wait_until_recorded(lock);
  if (error_) std::rethrow_exception(error_);
}

bool PictureWriter::has_room(std::uint64_t bytes) const {
  return entries_.empty() ||
         (entries_.size() < static_cast<std::size_t>(limits_.pictures) && bytes_ + bytes <= limits_.bytes);
}

void PictureWriter::wait_until_recorded(std::unique_lock<std::mutex>& lock) {
  recorded_.wait(lock, [this] { return error_ || entries_.empty(); });
}

// What each thread does.
void PictureWriter::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    added_.wait(lock, [this] { return stopping_ || error_ || begun_ < entries_.size(); });
    --idle_;
    if (stopping_ || error_) return;
    Entry& entry = entries_[begun_++];
    lock.unlock();
    std::exception_ptr error;
    try {
      if (!entry.picture.error && entry.picture.result.save) entry.picture.result.save();
    } catch (...) {
      error = std::current_exception();
    }
    entry.picture.result.save = {};  // what it holds is not needed while earlier pictures are waited for
    lock.lock();
    entry.is_saved = true;
    entry.error = error;
    record_saved();
    recorded_.notify_all();
    if (error_) added_.notify_all();
  }
}

// With the mutex held.
void PictureWriter::record_saved() {
  while (!error_ && !entries_.empty() && entries_.front().is_saved) {
    const Entry& first = entries_.front();
    try {
      if (first.error) std::rethrow_exception(first.error);
      record_(first.picture);
    } catch (...) {
      error_ = std::current_exception();
      return;
    }
    bytes_ -= first.picture.result.saved_bytes;
    entries_.pop_front();
    --begun_;
  }
}

}  // namespace usol
