#include "usol/pipeline/discover_job.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/npy.h"
#include "usol/io/output_folder.h"
#include "usol/io/rle.h"
#include "usol/maskcut/discoverer.h"
#include "usol/pipeline/overlay.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/pipeline/settings.h"
#include "usol/pipeline/undivided_pictures.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

// The graph of this many patches takes half a gigabyte, and the backbone's time grows with their square.
constexpr std::int64_t kMostPatches = 65536;
constexpr std::int64_t kSquareSide = 1024;  // of a picture whose size does not matter
constexpr double kBytesOfGraph = 200e6;     // of 4800 patches, as 640 x 480 pixels are, in f64

// A picture of so many pixels, at the size that features are made of.
void check_patches(const Size& pixels, std::int64_t patch, std::int64_t most, ErrorKind kind) {
  const std::int64_t patches = (pixels.height + patch - 1) / patch * ((pixels.width + patch - 1) / patch);
  check(patches <= most, kind,
        "a picture of {} x {} pixels has {} patches of {}, more than {}; make pictures smaller (a size for all, or the "
        "method's "
        "own), or take a network of coarser patches or a coarser layer",
        pixels.height, pixels.width, patches, patch, most);
}

// The record with the object's numbers under the key "emb", as FreeSOLO's free masks have them; readers that have no
// use for them pass them over. As many digits as give the same float again.
std::string with_embedding(std::string record, const std::vector<float>& embedding) {
  if (embedding.empty()) return record;
  record.pop_back();  // the closing brace
  return record + fmt::format(", \"emb\": [{}]}}", fmt::join(embedding, ", "));
}

ImageRecord make_record(const InputImage& input, const Tensor& image, const maskcut::DiscoveredObjects& found) {
  ImageRecord record;
  io::CocoImage entry{input.id, image.size(0), image.size(1), input.file_name};
  if (found.swapped_sides) std::swap(entry.height, entry.width);
  record.image = io::coco_image_json(entry);
  for (const maskcut::DiscoveredObject& object : found.objects) {
    const io::Rle rle = io::rle_encode(object.mask);
    io::CocoAnnotation annotation;
    annotation.id = static_cast<std::int64_t>(record.annotations.size()) + 1;
    annotation.image_id = input.id;
    annotation.category_id = 1;
    annotation.box = object.box;
    annotation.area = static_cast<double>(io::rle_area(rle));
    annotation.score = object.score;
    annotation.has_score = true;
    record.annotations.push_back(with_embedding(io::coco_annotation_json(annotation, rle), object.embedding));
  }
  return record;
}

// The folders of a run, null where it has none.
struct Folders {
  std::shared_ptr<io::OutputFolder> overlays, maps;
  std::shared_ptr<OverlayFiles> look = std::make_shared<OverlayFiles>();
};

ImageResult make_result(const InputImage& input, const Tensor& image, const maskcut::DiscoveredObjects& found,
                        const Folders& folders) {
  ImageResult out;
  out.record = make_record(input, image, found);
  std::vector<std::byte> overlay;
  if (folders.overlays) {
    std::vector<Tensor> masks;
    for (const maskcut::DiscoveredObject& object : found.objects) masks.push_back(object.mask);
    overlay = folders.look->encode(input.file_name, [&] { return draw_masks(image, masks, found.soft); });
  }
  const Tensor map = !folders.maps ? Tensor() : found.soft.to(DType::kF32).to(Device::cpu());
  out.saved_bytes = overlay.size() + (map.defined() ? static_cast<std::uint64_t>(map.numel()) * 4 : 0);
  if (out.saved_bytes == 0) return out;
  out.save = [folders, map, overlay = std::move(overlay), name = input.file_name] {
    if (!overlay.empty()) folders.overlays->write(output_path({}, name, ".jpg").generic_string(), overlay);
    if (map.defined())
      folders.maps->write(output_path({}, name, ".npy").generic_string(),
                          [&](const fs::path& path) { io::save_npy(path, map); });
  };
  return out;
}

}  // namespace

void DiscoverOutputs::declare(Settings& settings) {
  settings.group("Output");
  settings.add("out FILE", coco, "The COCO file to write; FILE.journal lies beside it meanwhile", OptionKind::kRun);
  settings.add("overlays DIR", overlays, "Also a picture of each result", OptionKind::kRun);
  settings.add("maps DIR", maps,
               "The soft maps, .npy of f32 [H, W], as `usol eval` reads them: of task saliency, and of method freemask",
               OptionKind::kRun);
}

void DiscoverJob::declare(Settings& settings, HeadTraining* training) {
  inputs.declare(settings);
  method.declare(settings);
  if (training != nullptr)
    settings.when("method", "found", [training](Settings& of_found) { training->declare(of_found); });
  features.declare(settings, true,
                   "Side of the square that pictures are resized to. 0: as the method has it (each picture's own size, "
                   "zero-padded to whole patches; maskcut: 480; freemask: by its short side)",
                   0);
  pictures.declare(settings);
}

int DiscoverJob::run(const Run& run, const DiscoverOutputs& outputs) {
  SettingsTable own("discover");  // as they were asked for, before the method settles them
  declare(own);
  const std::string settings = own.settings_text();
  const auto report = pictures.report_at_end(run);
  check(outputs.maps.empty() || method.gives_maps(), ErrorKind::kUsage,
        "maps {}: method {} makes none, or not for this task", outputs.maps, method.name());
  method.settle(features, static_cast<std::uint64_t>(run.seed));
  ImageJob job;
  job.inputs = inputs.collect();
  say_reading(run, job.inputs);
  if (!outputs.overlays.empty() || !outputs.maps.empty()) check_output_paths(job.inputs);
  method.load();
  const auto source = features.open(run);
  const std::int64_t most_patches = std::min(kMostPatches, method.most_patches());
  // Where the settings make the size, no ordinary picture would do better than a square one.
  if (!features.keeps_sizes())
    check_patches(features.picture_size({kSquareSide, kSquareSide}), source->patch(), most_patches, ErrorKind::kUsage);
  job.output = outputs.coco;
  job.shard = Shard::parse(shard.text);
  job.reads = inputs.inputs;
  job.reads.push_back(features.weights);
  for (const std::string& path : method.reads()) job.reads.push_back(path);
  const Folders folders{job.add_folder(run, "overlays", outputs.overlays, ".jpg"),
                        job.add_folder(run, "maps", outputs.maps, ".npy")};
  job.categories = {{1, "fg", "fg"}};
  job.info = make_info(run, settings, features.weights_sha256());
  method.describe(job.info);
  source->describe(job.info);
  features.record(job.info);
  job.cost = source->cost();
  job.cost->bytes += kBytesOfGraph;
  UndividedPictures counts;
  job.load = [&](const InputImage& input) -> ImageCompute {
    const Tensor image = io::decode_image(input.path, pictures.decode());
    const Size pixels = features.picture_size({image.size(0), image.size(1)});
    check_patches(pixels, source->patch(), most_patches, ErrorKind::kUnsupported);
    const PreparedPicture prepared = source->prepare(input, image);
    return [&, input, image, prepared, pixels] {
      PatchMaps maps = source->maps(prepared);
      maps.features = maps.features.to(Device::cpu());
      if (maps.attention.defined()) maps.attention = maps.attention.to(Device::cpu());
      const maskcut::DiscoveredObjects found = method.find(maps, image, source->patch(), pixels);
      counts.add(found.undivided);
      return make_result(input, image, found, folders);
    };
  };
  const int status = run_image_job(run, job);
  counts.say(run, method.why_undivided());
  folders.look->say(run);
  return status;
}

}  // namespace usol
