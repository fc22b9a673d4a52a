#pragma once
// Pictures -> features -> cuts -> a COCO file of pseudo-masks, with pictures and dumps beside it: the work of `usol
// maskcut` and `usol run`.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "usol/io/coco.h"
#include "usol/maskcut/maskcut.h"
#include "usol/pipeline/feature_source.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/run.h"
#include "usol/pipeline/stage_clock.h"
#include "usol/pipeline/undivided_pictures.h"

namespace usol {

class OverlayFiles;

/// Where the results go.
struct MaskcutOutputs {
  std::string coco;                      // the COCO file
  std::string overlays = {}, dump = {};  // folders; empty: none
  std::string dumped = {};               // arrays of every stage ("x,P": x_1, x_2, ..., P_1, ...) in `dump`; "": all
  std::string times = {};                // file for the seconds by stage; empty: none
  std::vector<std::pair<std::string, std::string>> beside = {};  // what the verb writes afterwards, as ImageJob::files

  /// Declares all but `beside`.
  void declare(Settings& settings);
};

/// The folders of a run, null where it has none.
struct MaskcutFolders {
  std::shared_ptr<io::OutputFolder> overlays, dump;
  std::vector<std::string> dumped;  // names; none: all
  std::shared_ptr<OverlayFiles> look = {};
};

struct MaskcutJob {
  InputOptions inputs;
  PictureOptions pictures;
  FeatureOptions features;
  std::string preset = "paper", eigensolver = "lanczos";
  std::optional<double> tau;  // not set: as is usual for the features (maskcut/usual_tau.h); settled by run()
  double stop_eigenvalue = 2, max_ncut = 2;
  std::int64_t masks = 3, batch = 128;
  bool crf = true, cuda_graph = false;
  ShardOption shard;

  /// Declares everything but where the results go; without `shards` no shard.
  void declare(Settings& settings, bool shards = true);
  /// Does the work, and returns a status, as run_image_job().
  int run(const Run& run, const MaskcutOutputs& outputs);
  /// Where the pictures lie, by the names that the COCO file gives them.
  std::function<std::filesystem::path(const std::string& file_name)> picture_paths() const;

  // ---- the parts of the work, for sweeps
  /// How annotations of the same pictures are read.
  io::CocoReadOptions reading() const { return {.image_root = inputs.picture_folder(), .apply_exif = pictures.exif}; }
  /// What features depend on, as text: equal for two jobs with the same ones.
  std::string features_key() const;
  /// Writes what was settled into the settings of an output's `info`.
  void record(nlohmann::ordered_json& info) const;
  maskcut::MaskCutOptions cut_options(std::int64_t patch) const;
  /// u8 [H, W, 3].
  Tensor decode(const InputImage& input) const;

 private:
  // The work on batches of pictures, for a device of its own (pipeline/batch_pipeline.h).
  BatchedJob batched(const FeatureSource& source, Device device, const maskcut::MaskCutOptions& cut,
                     const MaskcutFolders& outputs) const;
  // Settles tau for these features, and says so where nobody has published one for them.
  void settle_tau(const Run& run, const FeatureSource& source);
  PictureCost cost(const FeatureSource& source, const MaskcutFolders& outputs) const;
  ImageResult compute(const InputImage& input, const Tensor& image, const Tensor& map, maskcut::MaskCutOptions cut,
                      const MaskcutFolders& outputs) const;

  std::shared_ptr<StageClock> clock_;          // of the run
  std::shared_ptr<UndividedPictures> counts_;  // of the run
};

/// The annotation of a mask, without an id.
io::CocoAnnotation maskcut_annotation(std::int64_t image_id, const maskcut::PseudoMask& mask, const io::Rle& rle);

}  // namespace usol
