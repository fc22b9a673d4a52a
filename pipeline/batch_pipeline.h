#pragma once
// The loop of pipeline/image_job.h for a device that takes many pictures at once: threads read pictures ahead, two
// threads give batches of them to the device, threads finish them. All three stages work at the same time on different
// pictures, and results come out in the order of the inputs.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <optional>
#include <vector>

#include "usol/pipeline/image_job.h"
#include "usol/pipeline/ordered_map.h"

namespace usol {

/// A picture that is done, or what went wrong with it.
struct DonePicture {
  std::int64_t index = 0;
  ImageResult result = {};
  std::exception_ptr error = {};
};

class BatchPipeline {
 public:
  /// Works on the inputs `todo`, in this order. `work` and `inputs` must outlive it.
  BatchPipeline(const BatchWork& work, const InputList& inputs, std::vector<std::int64_t> todo);
  /// The next picture; nothing after the last.
  std::optional<DonePicture> next() { return finished_.next(); }

 private:
  struct Read {
    std::int64_t index = 0;
    std::any picture = {};
    std::exception_ptr error = {};
  };
  struct Computed {
    std::int64_t index = 0;
    BatchedPicture picture = {};
  };

  std::optional<std::int64_t> next_input();
  std::optional<std::vector<Read>> next_batch();
  std::optional<Computed> next_computed();
  Read read(std::int64_t index) const;
  std::vector<Computed> compute(std::vector<Read> batch) const;
  static DonePicture finish(Computed computed);

  const BatchWork& work_;
  const InputList& inputs_;
  std::vector<std::int64_t> todo_;
  std::size_t next_ = 0;
  std::deque<Computed> computed_ready_;
  // Each takes from the one before it; destroyed in reverse.
  OrderedMap<std::int64_t, Read> read_;
  OrderedMap<std::vector<Read>, std::vector<Computed>> computed_;
  OrderedMap<Computed, DonePicture> finished_;
};

}  // namespace usol
