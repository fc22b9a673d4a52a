#pragma once
// The pictures of a training that cannot be read: others take their places (train/loader.h), they are counted, and too
// many of them end it. The same on all ranks, and after an interruption.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "usol/ops/all_reduce.h"
#include "usol/tensor/error.h"
#include "usol/train/dataset.h"
#include "usol/train/picture_check.h"

namespace usol::train {

/// More pictures cannot be read than may be skipped.
class TooManySkipped : public Error {
 public:
  using Error::Error;
};

class SkippedPictures {
 public:
  /// Of `data`, which must outlive this, the share `most` may be skipped. `ranks`: the processes that train together,
  /// or null.
  SkippedPictures(const Dataset& data, double most, Communicator* ranks = nullptr)
      : data_(data), most_(most), ranks_(ranks) {}

  /// Adds the pictures that this rank has met; every rank must call it. Returns those of all ranks that are new, the
  /// same on all. Throws TooManySkipped, on all ranks, which lists the first ones.
  std::vector<SkippedPicture> add(const std::vector<SkippedPicture>& met);

  std::int64_t size() const { return static_cast<std::int64_t>(all_.size()); }
  /// A line for each, by their order in the data set.
  std::string text() const;
  /// For checkpoints: what load_state() makes the same of.
  std::string state() const;
  /// Throws Error(kFormat) if `state` is not from state().
  void load_state(const std::string& state);

 private:
  const Dataset& data_;
  double most_;
  Communicator* ranks_;
  std::map<std::int64_t, std::string> all_;  // reason by index
};

}  // namespace usol::train
