#pragma once
// Several threads that work on the items of a sequence; the results come out in its order. A stage of a pipeline, whose
// sequence may be the results of another.

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace usol {

template <class In, class Out>
class OrderedMap {
 public:
  using Work = std::function<Out(In)>;

  /// `source()` gives the next item, or nothing at the end; it runs on one thread at a time. `work(item)` runs on
  /// `threads` threads. At most `depth` items are in work or wait to be taken.
  OrderedMap(std::function<std::optional<In>()> source, Work work, int threads, std::size_t depth)
      : OrderedMap(
            std::move(source),
            [shared = std::make_shared<const Work>(std::move(work))]() -> Work {
              return [shared](In item) { return (*shared)(std::move(item)); };
            },
            threads, depth) {}
  /// `worker()` is called on each thread for the work that this thread does: what it holds belongs to that thread alone
  /// and is gone with it.
  OrderedMap(std::function<std::optional<In>()> source, std::function<Work()> worker, int threads, std::size_t depth)
      : source_(std::move(source)), worker_(std::move(worker)), depth_(depth) {
    for (int t = 0; t < threads; ++t) threads_.emplace_back([this] { run(); });
  }
  /// Waits for the items in work and drops the rest.
  ~OrderedMap() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  OrderedMap(const OrderedMap&) = delete;
  OrderedMap& operator=(const OrderedMap&) = delete;

  /// The next result; nothing after the last. Rethrows what `source` or `work` threw.
  std::optional<Out> next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock,
                  [this] { return error_ || (results_.empty() ? ended_ && !asking_ : results_.front().has_value()); });
    if (error_) std::rethrow_exception(error_);
    if (results_.empty()) return std::nullopt;
    std::optional<Out> result = std::move(results_.front());
    results_.pop_front();
    lock.unlock();
    changed_.notify_all();
    return result;
  }

 private:
  void run() {
    try {
      const Work work = worker_();
      for (;;) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stopping_ || ended_ || (!asking_ && results_.size() < depth_); });
        if (stopping_ || ended_) return;
        asking_ = true;
        lock.unlock();
        std::optional<In> item = source_();
        lock.lock();
        asking_ = false;
        if (!item) {
          ended_ = true;
          lock.unlock();
          changed_.notify_all();
          return;
        }
        std::optional<Out>& result = results_.emplace_back();  // stays where it is while others come and go at the ends
        lock.unlock();
        changed_.notify_all();
        Out made = work(std::move(*item));
        lock.lock();
        result.emplace(std::move(made));
        lock.unlock();
        changed_.notify_all();
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      ended_ = true;
      asking_ = false;
    }
    changed_.notify_all();
  }

  std::function<std::optional<In>()> source_;
  std::function<Work()> worker_;
  std::size_t depth_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::optional<Out>> results_;  // from the next to be taken on; empty while in work
  std::exception_ptr error_;
  bool stopping_ = false, ended_ = false, asking_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace usol
