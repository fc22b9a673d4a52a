#include "usol/pipeline/features_job.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/json_text.h"
#include "usol/io/safetensors.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {

void FeaturesJob::declare(Settings& settings) {
  inputs.declare(settings);
  settings.group("Files");
  settings.choice("feature-dtype", dtype, {"f32", "f16"}, "Number format of the files");
  features.declare(settings, false);
  settings.flag("attention", features.attention,
                "Also `attention` [heads, h, w], of the class token, which some methods of `usol discover` need");
  settings.flag("padded", padded,
                "Pictures keep their size and are zero-padded to whole patches, as `usol discover` has it, instead of "
                "being resized to the side of size");
  settings
      .add("short-side PX", short_side,
           "Pictures are resized until their short side has so many pixels instead, as method freemask of `usol "
           "discover` has it; 0: not")
      .between(0, 16384);
  settings.add("long-side PX", long_side, "... but the long one no more than this").between(8, 16384);
  pictures.declare(settings);
  settings.group("Pictures of features");
  pca.declare(settings);
  settings.group("Running");
  shard.declare(settings);
}

int FeaturesJob::run(const Run& run, const std::string& folder) const {
  const auto report = pictures.report_at_end(run);
  ImageJob job;
  job.inputs = inputs.collect();
  say_reading(run, job.inputs);
  check_output_paths(job.inputs);
  FeatureOptions options = features;
  check(!padded || short_side == 0, ErrorKind::kUsage, "padded keeps the size that short-side {} is to change",
        short_side);
  if (padded) options.framing = Framing::kPadded;
  if (short_side > 0) {
    options.framing = Framing::kShortSide;
    options.short_side = {short_side, long_side};
  }
  const auto source = options.open(run);
  job.shard = Shard::parse(shard.text);
  const std::string list =
      job.shard.count == 1 ? "features.json" : fmt::format("features.{}of{}.json", job.shard.index, job.shard.count);
  job.output = (fs::path(folder) / list).string();
  job.reads = inputs.inputs;
  job.reads.push_back(options.weights);
  const auto files = job.add_folder(run, "out", folder, ".safetensors");
  check(!pca.wanted() || pca.of == "picture" || job.shard.count == 1, ErrorKind::kUsage,
        "pca {}: a shard has not all pictures, whose components are asked for; let pca-of be picture", pca.folder);
  const auto pca_files = job.add_folder(run, "pca", pca.folder, ".png");
  job.info = make_info(run, settings_json(*this, "features"));
  job.complete_info = [&](nlohmann::ordered_json& info) { options.record_weights(info); };
  source->describe(job.info);
  source->record_patch(job.info);
  options.record(job.info);
  job.cost = source->cost();
  const DType stored = dtype == "f16" ? DType::kF16 : DType::kF32;
  job.load = [&, files](const InputImage& input) -> ImageCompute {
    const Tensor image = io::decode_image(input.path, pictures.decode());
    PreparedPicture prepared = source->prepare(input, image);
    io::CocoImage record{input.id, image.size(0), image.size(1), input.file_name};
    return [&, files, record = std::move(record), prepared = std::move(prepared)] {
      const PatchMaps maps = source->maps(prepared);
      std::map<std::string, Tensor> tensors = {{"features", maps.features.to(stored).to(Device::cpu())}};
      if (maps.attention.defined()) tensors["attention"] = maps.attention.to(stored).to(Device::cpu());
      ImageResult result;
      result.record.image = io::coco_image_json(record);
      for (const auto& [key, tensor] : tensors)
        result.saved_bytes += static_cast<std::uint64_t>(tensor.numel()) * size_of(stored);
      result.save = [&, files, tensors, name = record.file_name] {
        files->write(output_path({}, name, ".safetensors").generic_string(), [&](const fs::path& path) {
          io::save_safetensors(path, tensors, {{"info", io::json_text(job.info)}});
        });
      };
      return result;
    };
  };
  const int status = run_image_job(run, job);
  if (pca_files == nullptr || run.dry_run || (status != kSuccess && status != kSomeInputsFailed)) return status;
  run.by_leader([&] {
    write_pca_pictures(run, pca, job.output, source->patch(), *pca_files);
    return 0;
  });
  return status;
}

}  // namespace usol
