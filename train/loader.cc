#include "usol/train/loader.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "usol/ops/random.h"
#include "usol/tensor/check.h"
#include "usol/train/skipped_pictures.h"

namespace usol::train {
namespace {

// Streams of random numbers: of the order of an epoch, of what happens to a picture in it, and of what takes its place.
constexpr std::uint64_t kOrderStream = 1ull << 62, kPictureStream = 1ull << 63;
constexpr std::uint64_t kReplacementStream = kOrderStream | kPictureStream;
constexpr int kEpochBits = 36;

std::uint64_t stream_of(std::uint64_t kind, const GroupSampler::Item& item) {
  return kind | static_cast<std::uint64_t>(item.epoch) << kEpochBits | static_cast<std::uint64_t>(item.index);
}

std::vector<bool> wide_pictures(const Dataset& dataset) {
  std::vector<bool> wide;
  for (std::int64_t i = 0; i < dataset.size(); ++i) wide.push_back(dataset.image(i).width > dataset.image(i).height);
  return wide;
}

}  // namespace

GroupSampler::GroupSampler(std::vector<bool> wide, std::int64_t group_size, std::uint64_t seed)
    : wide_(std::move(wide)), group_size_(static_cast<std::size_t>(group_size)), seed_(seed) {
  check(!wide_.empty() && group_size > 0, "sampler: expected pictures and groups of at least one, got {} and {}",
        wide_.size(), group_size);
}

GroupSampler::Item GroupSampler::draw() {
  if (position_ == order_.size()) {
    ++epoch_;
    position_ = 0;
    Generator generator(seed_, kOrderStream | static_cast<std::uint64_t>(epoch_));
    order_ = random_permutation(static_cast<std::int64_t>(wide_.size()), generator).to_vector<std::int64_t>();
  }
  return {epoch_, order_[position_++]};
}

std::vector<GroupSampler::Item> GroupSampler::next() {
  for (;;) {
    const Item item = draw();
    auto& bucket = waiting_[wide_[static_cast<std::size_t>(item.index)] ? 0 : 1];
    bucket.push_back(item);
    if (bucket.size() == group_size_) return std::exchange(bucket, {});
  }
}

Loader::Loader(const Dataset& dataset, const LoaderOptions& options, std::int64_t first)
    : dataset_(dataset),
      options_(options),
      wide_(wide_pictures(dataset)),
      all_groups_(options.group_size > 0 ? options.batch / options.group_size : 0),
      groups_(all_groups_ / std::max<std::int64_t>(1, options.ranks)),
      sampler_(wide_, std::max<std::int64_t>(1, options.group_size), options.seed),
      drawn_(first * all_groups_),
      given_out_(first * groups_),
      taken_(first * groups_) {
  check(all_groups_ > 0 && all_groups_ * options.group_size == options.batch, ErrorKind::kUsage,
        "loader: a batch of {} pictures is not whole groups of {}", options.batch, options.group_size);
  check(options.rank >= 0 && options.rank < options.ranks && options.passes > 0,
        "loader: rank {} of {}, {} passes make no sense", options.rank, options.ranks, options.passes);
  check(options.ranks == 1 || all_groups_ % (options.ranks * options.passes) == 0, ErrorKind::kUsage,
        "loader: a batch of {} pictures in groups of {} cannot be shared equally by {} processes{}: take a batch that "
        "is a multiple of {}, or another number of processes",
        options.batch, options.group_size, options.ranks,
        options.passes == 1 ? "" : fmt::format(" in {} passes", options.passes),
        options.group_size * options.ranks * options.passes);
  for (std::size_t i = 0; i < wide_.size(); ++i) of_shape_[wide_[i] ? 0 : 1].push_back(static_cast<std::int64_t>(i));
  for (std::int64_t i = 0; i < drawn_; ++i) sampler_.next();
  for (int i = 0; i < std::max(1, options.threads); ++i) threads_.emplace_back([this] { work(); });
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// The picture, or the first of a row of others of its shape that can be read. The row depends on the seed, the epoch
// and the picture alone.
CompactSample Loader::load(const GroupSampler::Item& item, std::vector<SkippedPicture>& skipped) const {
  const auto& others = of_shape_[wide_[static_cast<std::size_t>(item.index)] ? 0 : 1];
  Generator generator(options_.seed, stream_of(kReplacementStream, item));
  return load_or_another(item.index, others, generator, skipped,
                         [this](std::int64_t index) { return dataset_.load(index); });
}

Loader::Made Loader::make(const std::vector<GroupSampler::Item>& group) const {
  Made made;
  try {
    std::vector<Generator> generators;
    std::vector<Sample> weak;
    for (const GroupSampler::Item& item : group) {
      generators.emplace_back(options_.seed, stream_of(kPictureStream, item));
      CompactSample sample = load(item, made.skipped);
      set_truth_boxes(sample, options_.boxes);
      weak.push_back(augmented(sample, options_.augment, generators.back()));
    }
    made.samples = weak;
    if (options_.strong_views)
      for (std::size_t i = 0; i < weak.size(); ++i) {
        const Size size{weak[i].height(), weak[i].width()};
        made.samples[i].image =
            strong_view(weak[i].image, draw_strong_view(size, *options_.strong_views, generators[i]));
      }
    if (options_.copy_paste) made.samples = copy_pasted(made.samples, weak, *options_.copy_paste, generators);
    if (options_.strong_views) std::move(weak.begin(), weak.end(), std::back_inserter(made.samples));
  } catch (...) {
    made.error = std::current_exception();
  }
  return made;
}

bool Loader::is_mine(std::int64_t group) const {
  if (options_.ranks == 1) return true;
  const std::int64_t part = all_groups_ / options_.passes, share = part / options_.ranks;
  return group % part / share == options_.rank;
}

// The next group of this rank. Every rank draws all groups, so that what they are does not depend on ranks.
std::vector<GroupSampler::Item> Loader::next_group() {
  for (;;) {
    std::vector<GroupSampler::Item> group = sampler_.next();
    if (is_mine(drawn_++)) return group;
  }
}

void Loader::work() {
  const std::int64_t most = groups_ * std::max(1, options_.ahead);
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stopping_ || given_out_ < taken_ + groups_ + most; });
    if (stopping_) return;
    const std::int64_t number = given_out_++;
    const std::vector<GroupSampler::Item> group = next_group();
    lock.unlock();
    Made made = make(group);
    lock.lock();
    made_.emplace(number, std::move(made));
    lock.unlock();
    changed_.notify_all();
  }
}

std::vector<Sample> Loader::next() {
  std::vector<Sample> batch;
  std::exception_ptr error;
  std::unique_lock lock(mutex_);
  for (std::int64_t i = 0; i < groups_; ++i) {
    changed_.wait(lock, [&] { return made_.contains(taken_); });
    Made made = std::move(made_.extract(taken_++).mapped());
    if (made.error && !error) error = made.error;
    for (Sample& sample : made.samples) batch.push_back(std::move(sample));
    std::move(made.skipped.begin(), made.skipped.end(), std::back_inserter(skipped_));
  }
  lock.unlock();
  changed_.notify_all();
  if (error) std::rethrow_exception(error);
  return batch;
}

}  // namespace usol::train
