#pragma once
// The work of `usol maskcut` and `usol run`: inputs -> features -> cuts -> a COCO file, with pictures and dumps beside
// it.

#include <cstdint>
#include <string>

#include "cli/feature_source.h"
#include "cli/image_job.h"
#include "cli/inputs.h"
#include "cli/verb.h"
#include "maskcut/maskcut.h"

namespace usol {

class MaskcutWork {
 public:
  /// Declares everything but where the results go.
  void declare(Options& options);
  /// Does the work and returns the exit status. `overlays` and `dump` may be empty. `verb` is named in the info.
  int run(const Common& common, const Options& options, const std::string& verb, const std::string& out,
          const std::string& overlays, const std::string& dump);

 private:
  MaskCutOptions cut_options(std::int64_t patch) const;
  // The work on batches of pictures, for a device of its own (cli/batch_pipeline.h).
  BatchWork batched(const FeatureSource& source, Device device, const MaskCutOptions& cut, const std::string& overlays,
                    const std::string& dump) const;
  ImageResult compute(const InputImage& input, const Tensor& image, const Tensor& features, MaskCutOptions cut,
                      const std::string& overlays, const std::string& dump) const;
  Tensor decode(const InputImage& input) const;

  InputOptions inputs_;
  FeatureOptions source_;
  ShardOption shard_;
  std::string preset_ = "paper", eigensolver_ = "lanczos";
  double tau_ = 0.15, stop_eigenvalue_ = 2, max_ncut_ = 2;
  std::int64_t masks_ = 3, batch_ = 128;
  bool crf_ = true, exif_ = true;
};

}  // namespace usol
