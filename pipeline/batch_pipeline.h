#pragma once
// The loop of pipeline/image_job.h for a device that takes many pictures at once: threads read pictures ahead, two
// threads give batches of them to the device, threads finish them. All three stages work at the same time on different
// pictures, and results come out in the order of the inputs.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "usol/pipeline/image_job.h"
#include "usol/pipeline/ordered_map.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"
#include "usol/tensor/serial_scope.h"

namespace usol {

/// A picture that has been through the device: the rest of the work on it, or what went wrong.
struct BatchedPicture {
  ImageCompute finish = {};
  std::exception_ptr error = {};
};

/// The work in three steps; `Picture` is what one hands to the next. What a picture becomes must not depend on the
/// others of its batch.
template <class Picture>
struct BatchWork {
  /// The device's part of 1 to `batch` pictures that `load` returned; an entry for each. What it throws is the failure
  /// of all of them. Finishing runs on several threads.
  using Compute = std::function<std::vector<BatchedPicture>(std::vector<Picture>)>;

  std::int64_t batch = 0;  // pictures together, at most
  /// Reads a picture; on several threads.
  std::function<Picture(const InputImage&)> load = {};
  /// Called on each of the two threads that compute, so that the device has work while the host decides about the other
  /// batch. What belongs to a thread, its stream above all, is made here and held by what is returned.
  std::function<Compute()> worker = {};
};

template <class Picture>
class BatchPipeline : public PicturesInWork {
 public:
  /// Works on the inputs `todo`, in this order. `inputs` must outlive it.
  BatchPipeline(std::shared_ptr<const BatchWork<Picture>> work, const InputList& inputs, std::vector<std::int64_t> todo)
      : work_(std::move(work)),
        inputs_(inputs),
        todo_(std::move(todo)),
        read_([this] { return next_input(); }, [this](std::int64_t index) { return read(index); }, thread_count(),
              static_cast<std::size_t>((kComputing + 1) * work_->batch)),
        computed_([this] { return next_batch(); }, [this] { return computing(); }, kComputing, kComputing + 1),
        finished_([this] { return next_computed(); }, [](Computed computed) { return finish(std::move(computed)); },
                  thread_count(), static_cast<std::size_t>(2 * work_->batch)) {}
  std::optional<DonePicture> next() override { return finished_.next(); }

 private:
  // Batches in the device's hands: one has kernels to run while the host decides about the other.
  static constexpr int kComputing = 2;

  struct Read {
    std::int64_t index = 0;
    std::optional<Picture> picture = {};  // empty if there is an error
    std::exception_ptr error = {};
  };
  struct Computed {
    std::int64_t index = 0;
    BatchedPicture picture = {};
  };
  using Compute = typename BatchWork<Picture>::Compute;

  std::optional<std::int64_t> next_input() {
    if (next_ == todo_.size()) return std::nullopt;
    return todo_[next_++];
  }

  Read read(std::int64_t index) const {
    const SerialScope serial;
    try {
      return {index, work_->load(nameable_picture(inputs_, index))};
    } catch (...) {
      return {index, {}, std::current_exception()};
    }
  }

  std::optional<std::vector<Read>> next_batch() {
    std::vector<Read> batch;
    while (static_cast<std::int64_t>(batch.size()) < work_->batch) {
      std::optional<Read> item = read_.next();
      if (!item) break;
      batch.push_back(std::move(*item));
    }
    if (batch.empty()) return std::nullopt;
    return batch;
  }

  std::function<std::vector<Computed>(std::vector<Read>)> computing() const {
    return [this, worker = work_->worker()](std::vector<Read> batch) { return compute(worker, std::move(batch)); };
  }

  std::vector<Computed> compute(const Compute& worker, std::vector<Read> batch) const {
    std::vector<Computed> computed;
    std::vector<Picture> good;
    for (Read& item : batch) {
      computed.push_back({item.index, {{}, item.error}});
      if (!item.error) good.push_back(std::move(*item.picture));
    }
    if (good.empty()) return computed;
    const std::size_t count = good.size();
    std::vector<BatchedPicture> pictures;
    try {
      pictures = worker(std::move(good));
      check(pictures.size() == count, "batch: {} results for {} pictures", pictures.size(), count);
    } catch (const Error& error) {
      // Smaller batches would fit: this is no picture's fault.
      if (error.kind() == ErrorKind::kOutOfMemory)
        fail(ErrorKind::kDevice, fmt::format("{}; a smaller batch than {} takes less", error.what(), work_->batch));
      pictures.assign(count, {{}, std::current_exception()});
    } catch (...) {
      pictures.assign(count, {{}, std::current_exception()});
    }
    std::size_t next = 0;
    for (Computed& one : computed)
      if (!one.picture.error) one.picture = std::move(pictures[next++]);
    return computed;
  }

  std::optional<Computed> next_computed() {
    while (computed_ready_.empty()) {
      std::optional<std::vector<Computed>> batch = computed_.next();
      if (!batch) return std::nullopt;
      std::move(batch->begin(), batch->end(), std::back_inserter(computed_ready_));
    }
    Computed first = std::move(computed_ready_.front());
    computed_ready_.pop_front();
    return first;
  }

  static DonePicture finish(Computed computed) {
    const SerialScope serial;
    DonePicture done{computed.index, {}, computed.picture.error};
    if (done.error) return done;
    try {
      done.result = computed.picture.finish();
    } catch (...) {
      done.error = std::current_exception();
    }
    return done;
  }

  std::shared_ptr<const BatchWork<Picture>> work_;
  const InputList& inputs_;
  std::vector<std::int64_t> todo_;
  std::size_t next_ = 0;
  std::deque<Computed> computed_ready_;
  // Each takes from the one before it; destroyed in reverse.
  OrderedMap<std::int64_t, Read> read_;
  OrderedMap<std::vector<Read>, std::vector<Computed>> computed_;
  OrderedMap<Computed, DonePicture> finished_;
};

/// The work as an ImageJob takes it.
template <class Picture>
BatchedJob in_batches(BatchWork<Picture> work) {
  const std::int64_t batch = work.batch;
  return {batch,
          [shared = std::make_shared<const BatchWork<Picture>>(std::move(work))](
              const InputList& inputs, std::vector<std::int64_t> todo) -> std::unique_ptr<PicturesInWork> {
            return std::make_unique<BatchPipeline<Picture>>(shared, inputs, std::move(todo));
          }};
}

}  // namespace usol
