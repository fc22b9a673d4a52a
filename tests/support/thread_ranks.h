#pragma once
// Ranks that are threads of the test: sums of all in the order of ranks, started ones in threads of their own.

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "usol/ops/elementwise.h"
#include "usol/train/gradient_sums.h"

namespace usol::test {

class ThreadRanks {
 public:
  explicit ThreadRanks(int size) : size_(size) {}

  class Rank : public train::OverlappingRanks {
   public:
    Rank(ThreadRanks& all, int rank) : all_(all), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return all_.size_; }
    void all_reduce_sum(Tensor& tensor) override { all_.meet({false, sums_++}, rank_, tensor); }
    std::future<void> start_all_reduce_sum(Tensor tensor) override {
      return std::async(std::launch::async, [this, number = started_++, tensor]() mutable {
        all_.meet({true, number}, rank_, tensor);
      });
    }
    int started() const { return started_; }

   private:
    ThreadRanks& all_;
    int rank_, sums_ = 0, started_ = 0;
  };

  /// Runs `work` as every rank at once.
  static void run(int size, const std::function<void(Rank&)>& work) {
    ThreadRanks all(size);
    std::vector<std::thread> threads;
    for (int r = 0; r < size; ++r)
      threads.emplace_back([&all, &work, r] {
        Rank rank(all, r);
        work(rank);
      });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  struct Meeting {
    std::vector<Tensor> tensors;
    Tensor sum;
    int come = 0, left = 0;
  };
  using Key = std::pair<bool, int>;  // started or not, which one

  void meet(Key key, int rank, Tensor& tensor) {
    std::unique_lock lock(mutex_);
    Meeting& meeting = meetings_[key];
    meeting.tensors.resize(static_cast<std::size_t>(size_));
    meeting.tensors[static_cast<std::size_t>(rank)] = tensor.clone();
    if (++meeting.come == size_) {
      for (const Tensor& t : meeting.tensors) meeting.sum = meeting.sum.defined() ? add(meeting.sum, t) : t;
      changed_.notify_all();
    }
    changed_.wait(lock, [&] { return meeting.sum.defined() && meeting.come == size_; });
    tensor.copy_from(meeting.sum);
    if (++meeting.left == size_) meetings_.erase(key);
  }

  int size_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<Key, Meeting> meetings_;
};

}  // namespace usol::test
