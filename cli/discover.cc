// usol discover: the methods that MaskCut is compared with, on the same features, to the same COCO records.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/npy.h"
#include "usol/pipeline/discover_methods.h"
#include "usol/pipeline/discover_train.h"
#include "usol/pipeline/feature_source.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/overlay.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::cli {
namespace {

// The graph of this many patches takes half a gigabyte, and the backbone's time grows with their square.
constexpr std::int64_t kMostPatches = 65536;

void check_patches(const Size& pixels, std::int64_t patch) {
  const std::int64_t patches = (pixels.height + patch - 1) / patch * ((pixels.width + patch - 1) / patch);
  check(patches <= kMostPatches, ErrorKind::kUnsupported,
        "{} x {} pixels are {} patches of {}, more than {}; --size PX makes pictures smaller", pixels.height,
        pixels.width, patches, patch, kMostPatches);
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
    record.annotations.push_back(io::coco_annotation_json(annotation, rle));
  }
  return record;
}

class DiscoverVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Finds objects by the methods that MaskCut is compared with: TokenCut (one cut, or three eigenvectors of it), "
        "LOST, FOUND, DINO-seg and bisecting k-means; or by MaskCut with its published constants (`usol maskcut` has "
        "all its options). The features come from one extractor, the results are COCO records of one form: category "
        "'fg', mask, box, and a score (1; MaskCut's own).");
    inputs_.declare(options);
    method_.declare(options);
    options.when("method", "found", [this](Settings& settings) { training_.declare(settings); });
    source_.size = 0;
    source_.declare(
        options, true,
        "Side of the square that pictures are resized to. 0: as the method has it (each picture's own size, "
        "zero-padded to whole patches; maskcut: 480)",
        0);
    pictures_.declare(options);
    options.group("Output");
    options.add("--out FILE", out_, "The COCO file to write; FILE.journal lies beside it meanwhile", OptionKind::kRun);
    options.add("--overlays DIR", overlays_, "Also a picture of each result", OptionKind::kRun);
    options.add("--maps DIR", maps_,
                "With --task saliency: the soft maps, .npy of f32 [H, W], for `usol eval --saliency`",
                OptionKind::kRun);
    options.group("Running");
    shard_.declare(options);
    options.example(
        "usol discover images --method lost --weights dino_deitsmall16_pretrain.pth --out lost.json",
        "One object per picture, by LOST; `usol eval --corloc --match file_name --gt GT.json --pred lost.json` "
        "scores them");
    options.example("usol discover images --method tokencut --weights W.pth --out tokencut.json --overlays look",
                    "By TokenCut, with pictures to look at");
    options.example("usol discover images --method tokencut --task saliency --weights W.pth --out s.json --maps maps",
                    "TokenCut's saliency maps, fitted to the pictures' edges");
    options.example(
        "usol discover images --method found --found-weights decoder_weights.pt --weights "
        "dino_deitsmall8_300ep_pretrain.pth --out found.json",
        "By FOUND: scripts/download-weights fetches its layer (found_vits8) and the weights it was made for "
        "(dino_vits8_300ep)");
    options.example("usol discover images --method found --train-head head.safetensors --weights W.pth",
                    "FOUND's layer, trained on your own pictures; use it with --found-weights head.safetensors");
    options.example("usol discover photos --method bisecting-kmeans --backbone colour --out a.json",
                    "Without any weights: a look at how it works");
  }

  int run(const Run& run, const Options& options) override {
    const auto report = pictures_.report_at_end(run);
    if (training_.wanted()) {
      for (const char* key : {"task", "bilateral", "found-stage", "found-weights"})
        check(!options.uses(key) || !options.given(key), ErrorKind::kUsage,
              "--train-head writes the layer alone; leave out --{}", key);
      check(!run.ranks, ErrorKind::kUsage, "--train-head is the work of one process: start no others with it");
      check(out_.empty() && overlays_.empty() && maps_.empty(), ErrorKind::kUsage,
            "--train-head writes the layer alone; leave out --out, --overlays and --maps");
      return training_.run(run, source_, inputs_, pictures_);
    }
    for (const char* key : {"iterations", "batch"})
      check(!options.uses(key) || !options.given(key), ErrorKind::kUsage, "--{} goes with --train-head", key);
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    check(maps_.empty() || method_.gives_maps(), ErrorKind::kUsage, "--maps goes with --task saliency");
    method_.settle(source_, static_cast<std::uint64_t>(run.seed));
    ImageJob job;
    job.inputs = inputs_.collect();
    say_reading(run, job.inputs);
    if (!overlays_.empty() || !maps_.empty()) check_output_paths(job.inputs);
    method_.load();
    const auto source = source_.open(run);
    job.output = out_;
    job.shard = Shard::parse(shard_.text);
    job.reads = inputs_.inputs;
    job.reads.push_back(source_.weights);
    for (const std::string& path : method_.reads()) job.reads.push_back(path);
    look_ = job.add_folder(run, "--overlays", overlays_, ".jpg");
    soft_ = job.add_folder(run, "--maps", maps_, ".npy");
    job.categories = {{1, "fg", "fg"}};
    job.info = make_info(run, "{}", source_.weights_sha256());
    method_.describe(job.info);
    source->describe(job.info);
    job.load = [&](const InputImage& input) -> ImageCompute {
      const Tensor image = io::decode_image(input.path, pictures_.decode());
      check_patches(source_.picture_size(image), source->patch());
      const PreparedPicture prepared = source->prepare(input, image);
      return [&, input, image, prepared] {
        PatchMaps maps = source->maps(prepared);
        maps.features = maps.features.to(Device::cpu());
        if (maps.attention.defined()) maps.attention = maps.attention.to(Device::cpu());
        return save(input, image, method_.find(maps, image, source->patch(), source_.picture_size(image)));
      };
    };
    return run_image_job(run, job);
  }
  bool shares_work() const override { return true; }

 private:
  ImageResult save(const InputImage& input, const Tensor& image, const maskcut::DiscoveredObjects& found) const {
    ImageResult out;
    out.record = make_record(input, image, found);
    std::vector<std::byte> overlay;
    if (look_) {
      std::vector<Tensor> masks;
      for (const maskcut::DiscoveredObject& object : found.objects) masks.push_back(object.mask);
      overlay = io::encode_jpeg(draw_masks(image, masks, found.soft), 90);
    }
    const Tensor map = !soft_ ? Tensor() : found.soft.to(DType::kF32);
    out.saved_bytes = overlay.size() + (map.defined() ? static_cast<std::uint64_t>(map.numel()) * 4 : 0);
    if (out.saved_bytes == 0) return out;
    out.save = [this, map, overlay = std::move(overlay), name = input.file_name] {
      if (look_) look_->write(output_path({}, name, ".jpg").generic_string(), overlay);
      if (map.defined())
        soft_->write(output_path({}, name, ".npy").generic_string(),
                     [&](const fs::path& path) { io::save_npy(path, map); });
    };
    return out;
  }

  InputOptions inputs_;
  PictureOptions pictures_;
  DiscoverMethod method_;
  FeatureOptions source_;
  HeadTraining training_;
  ShardOption shard_;
  std::string out_, overlays_, maps_;
  std::shared_ptr<io::OutputFolder> look_, soft_;  // for --overlays and --maps
};

const RegisterVerb<DiscoverVerb> kDiscover("discover", "objects by TokenCut, LOST, FOUND and others, to compare with");

}  // namespace
}  // namespace usol::cli
