#include "usol/pipeline/crop_loader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "usol/models/patch_backbone.h"
#include "usol/ops/random.h"
#include "usol/pipeline/ordered_map.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"
#include "usol/tensor/serial_scope.h"
#include "usol/train/skipped_pictures.h"

namespace usol {
namespace {

// Streams of random numbers, as those of train/loader.cc: of the order of an epoch, of what happens to a picture in it,
// of what is hidden of it, and of what takes its place.
constexpr std::uint64_t kOrderStream = 1ull << 62, kPictureStream = 1ull << 63;
constexpr std::uint64_t kReplacementStream = kOrderStream | kPictureStream, kHiddenStream = kPictureStream | 1ull << 61;
constexpr int kEpochBits = 36;

struct Item {
  std::int64_t epoch, index;
  std::uint64_t stream(std::uint64_t kind) const {
    return kind | static_cast<std::uint64_t>(epoch) << kEpochBits | static_cast<std::uint64_t>(index);
  }
};

struct Made {
  train::Crops crops;
  Tensor hidden;  // u8 [2, patches]
  std::vector<train::SkippedPicture> skipped;
};

// The pictures of this rank's share of batch after batch.
class Order {
 public:
  Order(std::int64_t pictures, const CropLoaderOptions& options, std::int64_t first)
      : pictures_(pictures), options_(options), share_(options.batch / options.ranks), batch_(first) {}

  Item next() {
    const std::int64_t per_epoch = steps_per_epoch(pictures_, options_.batch), epoch = batch_ / per_epoch;
    if (epoch != epoch_) {
      Generator generator(options_.seed, kOrderStream | static_cast<std::uint64_t>(epoch));
      order_ = random_permutation(pictures_, generator).to_vector<std::int64_t>();
      epoch_ = epoch;
    }
    const std::int64_t at = batch_ % per_epoch * options_.batch + options_.rank * share_ + place_;
    if (++place_ == share_) {
      place_ = 0;
      ++batch_;
    }
    return {epoch, order_[static_cast<std::size_t>(at)]};
  }

 private:
  std::int64_t pictures_;
  CropLoaderOptions options_;
  std::int64_t share_, batch_, place_ = 0, epoch_ = -1;
  std::vector<std::int64_t> order_;
};

Tensor draw_hidden(std::int64_t grid, Generator generator) {
  Tensor hidden = Tensor::empty({2, grid * grid}, DType::kU8);
  for (std::int64_t crop = 0; crop < 2; ++crop)
    hidden.select(0, crop).copy_from(train::draw_block_mask(grid, grid, generator).reshape({grid * grid}));
  return hidden;
}

// The normalised crops, u8 [n, side, side, 3] -> f32 [n, 3, side, side], as picture number `place` of `batch`.
void put(const Tensor& crops, std::int64_t place, float* batch) {
  float* to = batch + place * crops.numel();
  for (std::int64_t i = 0; i < crops.size(0); ++i) {
    const Tensor crop = normalised(crops.select(0, i));
    to = std::copy_n(std::as_const(crop).data<float>(), crop.numel(), to);
  }
}

}  // namespace

std::int64_t steps_per_epoch(std::int64_t pictures, std::int64_t batch) { return pictures / batch; }

class CropLoader::Stream {
 public:
  Stream(const InputList& inputs, const io::DecodeOptions& decode, const CropLoaderOptions& options, std::int64_t first)
      : inputs_(inputs),
        decode_(decode),
        options_(options),
        all_(Tensor::arange(inputs.size()).to_vector<std::int64_t>()),
        order_(inputs.size(), options, first),
        map_([this]() -> std::optional<Item> { return order_.next(); }, [this](Item item) { return make(item); },
             options.threads, static_cast<std::size_t>(2 * options.batch / options.ranks + options.threads)) {}

  Made next() { return *map_.next(); }

 private:
  Made make(const Item& item) const {
    const SerialScope serial;
    Made made;
    Generator replacement(options_.seed, item.stream(kReplacementStream));
    const Tensor image = train::load_or_another(
        item.index, all_, replacement, made.skipped,
        [this](std::int64_t index) { return train::decode_picture(inputs_[index].path, decode_); });
    Generator generator(options_.seed, item.stream(kPictureStream));
    made.crops = train::multi_crop(image, options_.crops, generator);
    if (options_.hidden_grid > 0)
      made.hidden = draw_hidden(options_.hidden_grid, Generator(options_.seed, item.stream(kHiddenStream)));
    return made;
  }

  const InputList& inputs_;
  io::DecodeOptions decode_;
  CropLoaderOptions options_;
  std::vector<std::int64_t> all_;  // 0, 1, ...
  Order order_;
  OrderedMap<Item, Made> map_;
};

CropLoader::CropLoader(const InputList& inputs, const io::DecodeOptions& decode, const CropLoaderOptions& options,
                       std::int64_t first)
    : options_(options), share_(options.batch / options.ranks) {
  options.crops.check_valid();
  check(options.batch > 0 && options.batch <= inputs.size(), ErrorKind::kUsage,
        "batch {}: there are {} pictures, and a batch has each at most once; take a smaller batch", options.batch,
        inputs.size());
  check(options.batch % (options.ranks * options.passes) == 0, ErrorKind::kUsage,
        "batch {}: cannot be shared equally by {} processes{}; take a multiple of {}", options.batch, options.ranks,
        options.passes == 1 ? "" : fmt::format(" in {} passes", options.passes), options.ranks * options.passes);
  stream_ = std::make_unique<Stream>(inputs, decode, options, first);
}

CropLoader::~CropLoader() = default;

train::CropBatch CropLoader::next() {
  const train::MultiCropOptions& crops = options_.crops;
  train::CropBatch batch;
  batch.globals = Tensor::empty({share_, 2, 3, crops.global_px, crops.global_px});
  if (crops.locals > 0) batch.locals = Tensor::empty({share_, crops.locals, 3, crops.local_px, crops.local_px});
  const std::int64_t patches = options_.hidden_grid * options_.hidden_grid;
  if (patches > 0) batch.hidden = Tensor::empty({share_, 2, patches}, DType::kU8);
  std::vector<Made> made;
  for (std::int64_t i = 0; i < share_; ++i) made.push_back(stream_->next());
  // Threads write to memory of their own, so it is asked for once.
  float* globals = batch.globals.mutable_data<float>();
  float* locals = batch.locals.defined() ? batch.locals.mutable_data<float>() : nullptr;
  parallel_for_each(0, share_, [&](std::int64_t i) {
    const train::Crops& picture = made[static_cast<std::size_t>(i)].crops;
    put(picture.globals, i, globals);
    if (locals != nullptr) put(picture.locals, i, locals);
  });
  for (std::int64_t i = 0; i < share_; ++i) {
    const Made& picture = made[static_cast<std::size_t>(i)];
    if (batch.hidden.defined()) batch.hidden.select(0, i).copy_from(picture.hidden);
    skipped_.insert(skipped_.end(), picture.skipped.begin(), picture.skipped.end());
  }
  return batch;
}

}  // namespace usol
