#pragma once
// Batches for training, made by threads while the detector works: which pictures, in which order, and what happens to
// each depends on (seed, epoch, picture) alone, never on threads or time. So does what takes the place of a picture
// that cannot be read.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "usol/train/augment.h"
#include "usol/train/copy_paste.h"
#include "usol/train/dataset.h"
#include "usol/train/strong_view.h"
#include "usol/train/truth_boxes.h"

namespace usol::train {

/// Goes through all pictures in a random order, then again in another one, without end, and hands out groups of
/// pictures that are all wider than high or all not. Source: Detectron2's TrainingSampler, AspectRatioGroupedDataset.
class GroupSampler {
 public:
  struct Item {
    std::int64_t epoch, index;
  };
  /// `wide[i]`: picture i is wider than high.
  GroupSampler(std::vector<bool> wide, std::int64_t group_size, std::uint64_t seed);
  std::vector<Item> next();

 private:
  Item draw();

  std::vector<bool> wide_;
  std::size_t group_size_;
  std::uint64_t seed_;
  std::int64_t epoch_ = -1;
  std::size_t position_ = 0;
  std::vector<std::int64_t> order_;
  std::vector<Item> waiting_[2];
};

struct LoaderOptions {
  std::int64_t batch = 16, group_size = 2;  // pictures; a batch is whole groups
  std::uint64_t seed = 0;
  AugmentOptions augment = {};
  TruthBoxes boxes = TruthBoxes::kFile;
  std::optional<CopyPasteOptions> copy_paste = CopyPasteOptions{};  // within groups; nothing: off
  /// Each picture is there twice: of every group first the strong views, into which objects of the weak ones are
  /// pasted, then the weak ones, which are the pictures themselves. So a batch has twice as many samples. Nothing:
  /// once.
  std::optional<StrongViewOptions> strong_views = {};
  int threads = 2;
  int ahead = 2;  // batches made in advance
  /// Of `ranks` processes this is number `rank`. It makes its share of a batch: whole groups, that lie together in each
  /// of the batch's `passes` parts, which are trained on one after the other.
  std::int64_t rank = 0, ranks = 1, passes = 1;
};

class Loader {
 public:
  /// Begins with batch number `first` (0 is the first of all). The data set must outlive this. Throws Error(kUsage) if
  /// a batch, or a rank's share of a part of it, is not whole groups.
  Loader(const Dataset& dataset, const LoaderOptions& options, std::int64_t first = 0);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next batch, or this rank's share of it; with strong views both of each picture. In the place of a picture that
  /// cannot be read is another one of its shape. Rethrows what else loading one of its pictures threw, and
  /// UnreadablePicture after many others in its place.
  std::vector<Sample> next();
  /// The pictures that could not be read in batches of next() since this was last asked, repeats included.
  std::vector<SkippedPicture> take_skipped() { return std::exchange(skipped_, {}); }

 private:
  struct Made {
    std::vector<Sample> samples;
    std::vector<SkippedPicture> skipped;
    std::exception_ptr error;
  };
  void work();
  bool is_mine(std::int64_t group) const;
  std::vector<GroupSampler::Item> next_group();
  CompactSample load(const GroupSampler::Item& item, std::vector<SkippedPicture>& skipped) const;
  Made make(const std::vector<GroupSampler::Item>& group) const;

  const Dataset& dataset_;
  LoaderOptions options_;
  std::vector<bool> wide_;
  std::vector<std::int64_t> of_shape_[2];  // pictures that are wider than high, and the others
  std::int64_t all_groups_, groups_;       // of a batch; of this rank's share
  std::mutex mutex_;
  std::condition_variable changed_;
  GroupSampler sampler_;
  std::int64_t drawn_;              // groups, of all ranks
  std::int64_t given_out_, taken_;  // groups of this rank
  std::map<std::int64_t, Made> made_;
  std::vector<SkippedPicture> skipped_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace usol::train
