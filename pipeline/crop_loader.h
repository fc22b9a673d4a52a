#pragma once
// Batches for pre-training: pictures in a random order, decoded and cropped by threads while the network works. Which
// pictures, and what happens to each, depends on (seed, epoch, picture) alone, never on threads, ranks or time. So does
// what takes the place of a picture that cannot be read.

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "usol/io/image.h"
#include "usol/pipeline/inputs.h"
#include "usol/train/multi_crop.h"
#include "usol/train/picture_check.h"
#include "usol/train/pretrainer.h"

namespace usol {

struct CropLoaderOptions {
  train::MultiCropOptions crops = {};
  std::int64_t batch = 64;  // pictures, of all ranks together
  std::uint64_t seed = 0;
  int threads = 2;
  std::int64_t rank = 0, ranks = 1;  // this process makes its share of each batch
  std::int64_t passes = 1;           // that a share is trained on in
  std::int64_t hidden_grid = 0;      // patches along a side of a global crop, some of which are hidden; 0: none are
};

class CropLoader {
 public:
  /// Begins with batch number `first` (0 is the first of all). An epoch has whole batches of all pictures; what is left
  /// over waits for the next one's order. `inputs` must outlive this. Throws Error(kUsage) if a batch has more pictures
  /// than there are, or cannot be shared equally by ranks and passes.
  CropLoader(const InputList& inputs, const io::DecodeOptions& decode, const CropLoaderOptions& options,
             std::int64_t first = 0);
  ~CropLoader();
  CropLoader(const CropLoader&) = delete;
  CropLoader& operator=(const CropLoader&) = delete;

  /// The next batch, or this rank's share of it. Rethrows what loading one of its pictures threw, but for
  /// UnreadablePicture, which it throws after many others in its place.
  train::CropBatch next();
  /// The pictures that could not be read in batches of next() since this was last asked, repeats included.
  std::vector<train::SkippedPicture> take_skipped() { return std::exchange(skipped_, {}); }

 private:
  class Stream;
  std::unique_ptr<Stream> stream_;
  CropLoaderOptions options_;
  std::int64_t share_;
  std::vector<train::SkippedPicture> skipped_;
};

/// Steps of an epoch: whole batches.
std::int64_t steps_per_epoch(std::int64_t pictures, std::int64_t batch);

}  // namespace usol
