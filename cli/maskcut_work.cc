#include "cli/maskcut_work.h"

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "cli/overlay.h"
#include "cli/provenance.h"
#include "io/image.h"
#include "io/npy.h"
#include "io/rle.h"
#include "tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

// Every stage's arrays of one picture, kept until they are saved.
struct Dump {
  std::vector<std::pair<std::string, Tensor>> arrays;

  DumpSink sink() {
    return [this](std::string_view name, const Tensor& value) { arrays.emplace_back(name, value.clone()); };
  }
  std::uint64_t bytes() const {
    std::uint64_t total = 0;
    for (const auto& [name, array] : arrays)
      total += static_cast<std::uint64_t>(array.numel()) * size_of(array.dtype());
    return total;
  }
  void save(const fs::path& folder) const {
    fs::create_directories(folder);
    for (const auto& [name, array] : arrays) save_npy(folder / (name + ".npy"), array);
  }
};

ImageRecord make_record(const InputImage& input, const Tensor& image, const MaskCutResult& result, Preset preset) {
  ImageRecord record;
  CocoImage entry{input.id, image.size(0), image.size(1), input.file_name};
  if (preset == Preset::kRelease) std::swap(entry.height, entry.width);  // as the release writes them
  record.image = coco_image_json(entry);
  for (const auto& mask : result.masks) {
    const Rle rle = rle_encode(mask.mask);
    CocoAnnotation annotation;
    annotation.id = static_cast<std::int64_t>(record.annotations.size()) + 1;
    annotation.image_id = input.id;
    annotation.category_id = 1;
    annotation.box = rle_to_box(rle);
    annotation.area = static_cast<double>(rle_area(rle));
    annotation.score = mask.score;
    annotation.has_score = true;
    record.annotations.push_back(coco_annotation_json(annotation, rle));
  }
  return record;
}

}  // namespace

void MaskcutWork::declare(Options& options) {
  inputs_.declare(options);
  source_.declare(options);
  options.flag("--no-exif", exif_, "Ignore the orientation that cameras note in their files");
  options.group("Cuts");
  options.preset(preset_, {{"paper", {}}, {"release", {{"exif", "false"}}}},
                 "paper: as published. release: as the public code does it, slips included (docs/deviations.md)");
  options.add("--tau NUMBER", tau_, "Patches whose features have at least this cosine are connected");
  options.add("--masks N", masks_, "Cuts per picture, so the most masks it can get");
  options.at_least("masks", 1);
  options.at_most("masks", 1000);
  options.flag("--no-crf", crf_, "Leave the masks as the cuts give them, in steps of a patch");
  options.choice("--eigensolver", eigensolver_, {"lanczos", "dense"}, "dense is slow: a second opinion, and for study");
  options.add("--stop-eigenvalue NUMBER", stop_eigenvalue_,
              "End before the first cut whose second eigenvalue exceeds this (2: never)");
  options.add("--max-ncut NUMBER", max_ncut_, "Drop objects whose cut costs more than this (2: none)");
  options.group("Running");
  shard_.declare(options);
}

int MaskcutWork::run(const Common& common, const Options& options, const std::string& verb, const std::string& out,
                     const std::string& overlays, const std::string& dump) {
  ImageJob job;
  job.inputs = inputs_.collect();
  if (job.inputs.ignored() > 0) {
    common.detail("{} files are no pictures by their name and were left out", job.inputs.ignored());
  }
  if (!overlays.empty() || !dump.empty()) check_output_paths(job.inputs);
  const auto source = source_.open(common);
  job.output = out;
  job.shard = Shard::parse(shard_.text);
  job.categories = {{1, "fg", "fg"}};
  job.info = make_info(verb, common, options, source_.weights_sha256());
  source->describe(job.info);
  const MaskCutOptions cut = cut_options(source->patch());
  job.load = [&](const InputImage& input) -> ImageCompute {
    const Tensor image = decode_image(input.path, {.apply_exif = exif_});
    const PreparedPicture prepared = source->prepare(input, image);
    return
        [&, input, image, prepared] { return compute(input, image, source->features(prepared), cut, overlays, dump); };
  };
  return run_image_job(common, job);
}

MaskCutOptions MaskcutWork::cut_options(std::int64_t patch) const {
  MaskCutOptions cut;
  cut.preset = preset_ == "release" ? Preset::kRelease : Preset::kPaper;
  cut.tau = tau_;
  cut.masks = static_cast<int>(masks_);
  cut.size = source_.size;
  cut.patch = patch;
  cut.native_aspect = source_.native_aspect;
  cut.crf = crf_;
  cut.eigensolver = eigensolver_ == "dense" ? Eigensolver::kDense : Eigensolver::kLanczos;
  if (stop_eigenvalue_ < 2) cut.stop_eigenvalue = stop_eigenvalue_;
  if (max_ncut_ < 2) cut.max_ncut = max_ncut_;
  return cut;
}

ImageResult MaskcutWork::compute(const InputImage& input, const Tensor& image, const Tensor& features,
                                 MaskCutOptions cut, const std::string& overlays,
                                 const std::string& dump_folder) const {
  const auto dump = std::make_shared<Dump>();
  if (!dump_folder.empty()) cut.dump = dump->sink();
  const MaskCutResult result = maskcut(features, image, cut);
  ImageResult out;
  out.record = make_record(input, image, result, cut.preset);
  if (overlays.empty() && dump_folder.empty()) return out;
  std::vector<std::byte> overlay;
  if (!overlays.empty()) overlay = encode_jpeg(draw_maskcut(image, result), 90);
  out.saved_bytes = overlay.size() + dump->bytes();
  out.save = [overlays, dump_folder, dump, overlay = std::move(overlay), name = input.file_name] {
    if (!overlay.empty()) {
      const fs::path path = output_path(overlays, name, ".jpg");
      fs::create_directories(path.parent_path());
      write_file(path, overlay);
    }
    if (!dump->arrays.empty()) dump->save(output_path(dump_folder, name, ""));
  };
  return out;
}

}  // namespace usol
