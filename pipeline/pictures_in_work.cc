#include "usol/pipeline/pictures_in_work.h"

#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

#include "usol/pipeline/ordered_map.h"
#include "usol/pipeline/read_ahead.h"
#include "usol/tensor/parallel.h"
#include "usol/tensor/thread_share.h"

namespace usol {
namespace {

constexpr std::size_t kReadAhead = 3;

// A picture read ahead, or what went wrong with it.
struct Loaded {
  std::int64_t index = 0;
  ImageCompute compute;
  std::exception_ptr error;
};

Loaded load(const ImageJob& job, std::int64_t index) {
  Loaded loaded{index, {}, {}};
  try {
    loaded.compute = job.load(nameable_picture(job.inputs, index));
  } catch (...) {
    loaded.error = std::current_exception();
  }
  return loaded;
}

DonePicture compute(const Loaded& item) {
  DonePicture done{item.index, {}, item.error};
  if (done.error) return done;
  try {
    done.result = item.compute();
  } catch (...) {
    done.error = std::current_exception();
  }
  return done;
}

class OneByOne : public PicturesInWork {
 public:
  OneByOne(const ImageJob& job, std::vector<std::int64_t> todo, bool own_thread)
      : todo_(std::move(todo)),
        reader_(
            [this, &job]() -> std::optional<Loaded> {
              if (next_ == todo_.size()) return std::nullopt;
              return load(job, todo_[next_++]);
            },
            kReadAhead) {
    if (!own_thread) return;
    const auto with_all_threads = [](const Loaded& item) {
      const ThreadShare share(thread_count());
      return compute(item);
    };
    computing_.emplace([this] { return reader_.next(); }, with_all_threads, 1, 1);
  }
  std::optional<DonePicture> next() override {
    if (computing_) return computing_->next();
    const std::optional<Loaded> item = reader_.next();
    return item ? std::optional(compute(*item)) : std::nullopt;
  }

 private:
  std::vector<std::int64_t> todo_;
  std::size_t next_ = 0;
  ReadAhead<Loaded> reader_;
  std::optional<OrderedMap<Loaded, DonePicture>> computing_;
};

class ManyAtOnce : public PicturesInWork {
 public:
  ManyAtOnce(const ImageJob& job, std::vector<std::int64_t> todo, const AtOnce& plan)
      : todo_(std::move(todo)),
        gate_(plan.memory_bytes),
        pictures_([this] { return next_input(); },
                  [this, &job, plan](std::size_t i) {
                    DonePicture done = [&] {
                      const ThreadShare share(plan.threads_of(i, todo_.size()));
                      return do_picture(job, todo_[i]);
                    }();
                    gate_.leave();
                    return done;
                  },
                  plan.pictures, static_cast<std::size_t>(2 * plan.pictures)) {}
  std::optional<DonePicture> next() override { return pictures_.next(); }

 private:
  std::optional<std::size_t> next_input() {
    if (next_ == todo_.size()) return std::nullopt;
    gate_.enter();
    return next_++;
  }

  std::vector<std::int64_t> todo_;
  std::size_t next_ = 0;
  MemoryGate gate_;
  OrderedMap<std::size_t, DonePicture> pictures_;
};

}  // namespace

DonePicture do_picture(const ImageJob& job, std::int64_t index) { return compute(load(job, index)); }

std::unique_ptr<PicturesInWork> one_by_one(const ImageJob& job, std::vector<std::int64_t> todo, bool own_thread) {
  return std::make_unique<OneByOne>(job, std::move(todo), own_thread);
}

std::unique_ptr<PicturesInWork> many_at_once(const ImageJob& job, std::vector<std::int64_t> todo, const AtOnce& plan) {
  return std::make_unique<ManyAtOnce>(job, std::move(todo), plan);
}

}  // namespace usol
