#pragma once
// The pictures of a training that cannot be read: others take their places, they are counted, and too many of them end
// it. The same on all ranks, and after an interruption.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "usol/ops/all_reduce.h"
#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"
#include "usol/train/picture_check.h"

namespace usol::train {

/// load(index), or what it gives for the first of a row of others that can be read, which `generator` draws from
/// `others`. Those that cannot are added to `skipped`. Throws UnreadablePicture after a hundred of them.
template <class Load>
auto load_or_another(std::int64_t index, const std::vector<std::int64_t>& others, Generator& generator,
                     std::vector<SkippedPicture>& skipped, const Load& load) {
  constexpr std::size_t kMostOthers = 100;
  for (std::size_t tries = 0;; ++tries) {
    try {
      return load(index);
    } catch (const UnreadablePicture& error) {
      skipped.push_back({index, error.what()});
      if (tries == kMostOthers) throw;
    }
    index = others[generator.below(others.size())];
  }
}

/// More pictures cannot be read than may be skipped.
class TooManySkipped : public Error {
 public:
  using Error::Error;
};

class SkippedPictures {
 public:
  /// What is wrong with a picture.
  using Why = std::function<std::string(std::int64_t index)>;

  /// Of so many pictures the share `most` may be skipped. `ranks`: the processes that train together, or null.
  SkippedPictures(std::int64_t pictures, Why why, double most, Communicator* ranks = nullptr)
      : pictures_(pictures), why_(std::move(why)), most_(most), ranks_(ranks) {}

  /// Adds the pictures that this rank has met; every rank must call it. Returns those of all ranks that are new, the
  /// same on all. Throws TooManySkipped, on all ranks, which lists the first ones.
  std::vector<SkippedPicture> add(const std::vector<SkippedPicture>& met);

  std::int64_t size() const { return static_cast<std::int64_t>(all_.size()); }
  /// Their numbers, ascending.
  std::vector<std::int64_t> indices() const;
  /// A line for each, by their order in the data set.
  std::string text() const;
  /// For checkpoints: what load_state() makes the same of.
  std::string state() const;
  /// Throws Error(kFormat) if `state` is not from state().
  void load_state(const std::string& state);

 private:
  std::int64_t pictures_;
  Why why_;
  double most_;
  Communicator* ranks_;
  std::map<std::int64_t, std::string> all_;  // reason by index
};

}  // namespace usol::train
