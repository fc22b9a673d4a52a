#pragma once
// The work of `usol maskcut` and `usol run`: inputs -> features -> cuts -> a COCO file, with pictures and dumps beside
// it.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "usol/cli/feature_source.h"
#include "usol/cli/image_job.h"
#include "usol/cli/inputs.h"
#include "usol/cli/picture_options.h"
#include "usol/cli/stage_clock.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/maskcut/maskcut.h"

namespace usol {

/// Where the results go.
struct MaskcutOutputs {
  std::string coco;                      // the COCO file
  std::string overlays = {}, dump = {};  // folders; empty: none
  std::vector<std::string> dumped = {};  // arrays of every stage ("x": x_1, x_2, ...) that go to `dump`; none: all
  std::string times = {};                // file for the seconds by stage; empty: none
  std::vector<std::pair<std::string, std::string>> beside = {};  // what the verb writes afterwards, as ImageJob::files
};

/// The folders of a run, null where it has none.
struct MaskcutFolders {
  std::shared_ptr<OutputFolder> overlays, dump;
  std::vector<std::string> dumped;  // as in MaskcutOutputs
};

class MaskcutWork {
 public:
  /// Declares everything but where the results go; without `shards` no --shard.
  void declare(Options& options, bool shards = true);
  /// Does the work and returns the exit status. `verb` is named in the info.
  int run(const Common& common, const Options& options, const std::string& verb, const MaskcutOutputs& outputs);
  /// Where the pictures lie, by the names that the COCO file gives them.
  std::function<std::filesystem::path(const std::string& file_name)> picture_paths() const;

  // ---- the parts of the work, for `usol sweep`
  InputList inputs() const { return inputs_.collect(); }
  const InputOptions& input_options() const { return inputs_; }
  const PictureOptions& picture_options() const { return pictures_; }
  /// How annotations of the same pictures are read.
  CocoReadOptions reading() const { return {.image_root = inputs_.picture_folder(), .apply_exif = pictures_.exif}; }
  /// Where the features come from. Throws as FeatureOptions::open().
  std::unique_ptr<FeatureSource> open(const Common& common) { return source_.open(common); }
  const std::string& weights() const { return source_.weights; }
  const std::string& weights_sha256() const { return source_.weights_sha256(); }
  /// What features depend on, as text: equal for two works with the same ones.
  std::string features_key() const;
  MaskCutOptions cut_options(std::int64_t patch) const;
  /// u8 [H, W, 3].
  Tensor decode(const InputImage& input) const;

 private:
  // The work on batches of pictures, for a device of its own (cli/batch_pipeline.h).
  BatchWork batched(const FeatureSource& source, Device device, const MaskCutOptions& cut,
                    const MaskcutFolders& outputs) const;
  ImageResult compute(const InputImage& input, const Tensor& image, const Tensor& features, MaskCutOptions cut,
                      const MaskcutFolders& outputs) const;

  InputOptions inputs_;
  PictureOptions pictures_;
  FeatureOptions source_;
  std::shared_ptr<StageClock> clock_;  // of the run
  ShardOption shard_;
  std::string preset_ = "paper", eigensolver_ = "lanczos";
  double tau_ = 0.15, stop_eigenvalue_ = 2, max_ncut_ = 2;
  std::int64_t masks_ = 3, batch_ = 128;
  bool crf_ = true, cuda_graph_ = false;
};

/// The annotation of a mask, without an id.
CocoAnnotation maskcut_annotation(std::int64_t image_id, const PseudoMask& mask, const Rle& rle);

}  // namespace usol
