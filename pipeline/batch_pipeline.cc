#include "usol/pipeline/batch_pipeline.h"

#include <iterator>
#include <utility>

#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"
#include "usol/tensor/serial_scope.h"

namespace usol {
namespace {

// Batches in the device's hands: one has kernels to run while the host decides about the other.
constexpr int kComputing = 2;

}  // namespace

BatchPipeline::BatchPipeline(const BatchWork& work, const InputList& inputs, std::vector<std::int64_t> todo)
    : work_(work),
      inputs_(inputs),
      todo_(std::move(todo)),
      read_([this] { return next_input(); }, [this](std::int64_t index) { return read(index); }, thread_count(),
            static_cast<std::size_t>((kComputing + 1) * work.batch)),
      computed_([this] { return next_batch(); }, [this](std::vector<Read> batch) { return compute(std::move(batch)); },
                kComputing, kComputing + 1),
      finished_([this] { return next_computed(); }, [](Computed computed) { return finish(std::move(computed)); },
                thread_count(), static_cast<std::size_t>(2 * work.batch)) {}

std::optional<std::int64_t> BatchPipeline::next_input() {
  if (next_ == todo_.size()) return std::nullopt;
  return todo_[next_++];
}

std::optional<std::vector<BatchPipeline::Read>> BatchPipeline::next_batch() {
  std::vector<Read> batch;
  while (static_cast<std::int64_t>(batch.size()) < work_.batch) {
    std::optional<Read> item = read_.next();
    if (!item) break;
    batch.push_back(std::move(*item));
  }
  if (batch.empty()) return std::nullopt;
  return batch;
}

std::optional<BatchPipeline::Computed> BatchPipeline::next_computed() {
  while (computed_ready_.empty()) {
    std::optional<std::vector<Computed>> batch = computed_.next();
    if (!batch) return std::nullopt;
    std::move(batch->begin(), batch->end(), std::back_inserter(computed_ready_));
  }
  Computed first = std::move(computed_ready_.front());
  computed_ready_.pop_front();
  return first;
}

BatchPipeline::Read BatchPipeline::read(std::int64_t index) const {
  const SerialScope serial;
  try {
    return {index, work_.load(inputs_[index])};
  } catch (...) {
    return {index, {}, std::current_exception()};
  }
}

std::vector<BatchPipeline::Computed> BatchPipeline::compute(std::vector<Read> batch) const {
  std::vector<Computed> computed;
  std::vector<std::any> good;
  for (Read& item : batch) {
    computed.push_back({item.index, {{}, item.error}});
    if (!item.error) good.push_back(std::move(item.picture));
  }
  if (good.empty()) return computed;
  std::vector<BatchedPicture> pictures;
  try {
    pictures = work_.compute(good);
    check(pictures.size() == good.size(), "batch: {} results for {} pictures", pictures.size(), good.size());
  } catch (const Error& error) {
    // Smaller batches would fit: this is no picture's fault.
    if (error.kind() == ErrorKind::kOutOfMemory) {
      fail(ErrorKind::kDevice, fmt::format("{}; a smaller batch than {} takes less", error.what(), work_.batch));
    }
    pictures.assign(good.size(), {{}, std::current_exception()});
  } catch (...) {
    pictures.assign(good.size(), {{}, std::current_exception()});
  }
  std::size_t next = 0;
  for (Computed& one : computed)
    if (!one.picture.error) one.picture = std::move(pictures[next++]);
  return computed;
}

DonePicture BatchPipeline::finish(Computed computed) {
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

}  // namespace usol
