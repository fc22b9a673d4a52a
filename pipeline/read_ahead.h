#pragma once
// One thread that prepares the next few items while the caller works on the present one, in order.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace usol {

template <class Item>
class ReadAhead {
 public:
  /// `make()` gives the next item, or nothing at the end; at most `depth` items wait. It runs on the thread only.
  ReadAhead(std::function<std::optional<Item>()> make, std::size_t depth) : make_(std::move(make)), depth_(depth) {
    thread_ = std::thread([this] { run(); });
  }
  /// Waits for the item being made and drops the rest.
  ~ReadAhead() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  /// The next item; nothing after the last. Rethrows what `make` threw.
  std::optional<Item> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !items_.empty() || ended_; });
    if (items_.empty()) {
      if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
      return std::nullopt;
    }
    std::optional<Item> item = std::move(items_.front());
    items_.pop_front();
    lock.unlock();
    changed_.notify_all();
    return item;
  }

 private:
  void run() {
    std::exception_ptr error;
    try {
      for (;;) {
        {
          std::unique_lock lock(mutex_);
          changed_.wait(lock, [this] { return stopping_ || items_.size() < depth_; });
          if (stopping_) break;
        }
        std::optional<Item> item = make_();
        if (!item) break;
        {
          const std::lock_guard lock(mutex_);
          items_.push_back(std::move(*item));
        }
        changed_.notify_all();
      }
    } catch (...) {
      error = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      error_ = error;
      ended_ = true;
    }
    changed_.notify_all();
  }

  std::function<std::optional<Item>()> make_;
  std::size_t depth_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;
  std::exception_ptr error_;
  bool stopping_ = false, ended_ = false;
  std::thread thread_;
};

}  // namespace usol
