#include "usol/cli/maskcut_work.h"

#include <algorithm>
#include <any>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "usol/cli/outputs.h"
#include "usol/cli/overlay.h"
#include "usol/cli/provenance.h"
#include "usol/cli/reading.h"
#include "usol/io/image.h"
#include "usol/io/npy.h"
#include "usol/io/rle.h"
#include "usol/maskcut/cut_batch.h"
#include "usol/tensor/check.h"
#include "usol/tensor/stream.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

// The stages that --times tells apart.
constexpr const char *kReading = "reading, resizing", *kFeatures = "features", *kCuts = "cuts", *kMasks = "CRF, masks",
                     *kRecording = "records, pictures";

// Every stage's arrays of one picture, kept until they are saved.
struct Dump {
  std::vector<std::pair<std::string, Tensor>> arrays;

  // `wanted`: names without the stage's number; none: all.
  DumpSink sink(const std::vector<std::string>& wanted) {
    return [this, wanted](std::string_view name, const Tensor& value) {
      const std::string_view array = name.substr(0, name.find('_'));
      if (wanted.empty() || std::find(wanted.begin(), wanted.end(), array) != wanted.end())
        arrays.emplace_back(name, value.clone());
    };
  }
  std::uint64_t bytes() const {
    std::uint64_t total = 0;
    for (const auto& [name, array] : arrays)
      total += static_cast<std::uint64_t>(array.numel()) * size_of(array.dtype());
    return total;
  }
  void save(OutputFolder& folder, const std::string& picture) const {
    const std::string inside = output_path({}, picture, "").generic_string();
    for (const auto& [name, array] : arrays)
      folder.write(fmt::format("{}/{}.npy", inside, name), [&](const fs::path& path) { save_npy(path, array); });
  }
};

ImageRecord make_record(const InputImage& input, const Tensor& image, const MaskCutResult& result, Preset preset) {
  ImageRecord record;
  CocoImage entry{input.id, image.size(0), image.size(1), input.file_name};
  if (preset == Preset::kRelease) std::swap(entry.height, entry.width);  // as the release writes them
  record.image = coco_image_json(entry);
  for (const auto& mask : result.masks) {
    const Rle rle = rle_encode(mask.mask);
    CocoAnnotation annotation = maskcut_annotation(input.id, mask, rle);
    annotation.id = static_cast<std::int64_t>(record.annotations.size()) + 1;
    record.annotations.push_back(coco_annotation_json(annotation, rle));
  }
  return record;
}

// The record, the overlay and the dump of a picture whose masks are known.
ImageResult make_result(const InputImage& input, const Tensor& image, const MaskCutResult& result, Preset preset,
                        const MaskcutFolders& outputs, const std::shared_ptr<Dump>& dump) {
  ImageResult out;
  out.record = make_record(input, image, result, preset);
  if (!outputs.overlays && !outputs.dump) return out;
  std::vector<std::byte> overlay;
  if (outputs.overlays) overlay = encode_jpeg(draw_maskcut(image, result), 90);
  out.saved_bytes = overlay.size() + dump->bytes();
  out.save = [outputs, dump, overlay = std::move(overlay), name = input.file_name] {
    if (outputs.overlays) outputs.overlays->write(output_path({}, name, ".jpg").generic_string(), overlay);
    if (outputs.dump) dump->save(*outputs.dump, name);
  };
  return out;
}

}  // namespace

CocoAnnotation maskcut_annotation(std::int64_t image_id, const PseudoMask& mask, const Rle& rle) {
  CocoAnnotation annotation;
  annotation.image_id = image_id;
  annotation.category_id = 1;
  annotation.box = rle_to_box(rle);
  annotation.area = static_cast<double>(rle_area(rle));
  annotation.score = mask.score;
  annotation.has_score = true;
  return annotation;
}

void MaskcutWork::declare(Options& options, bool shards) {
  inputs_.declare(options);
  source_.declare(options);
  pictures_.declare(options);
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
  options.add("--batch N", batch_, "Pictures that a GPU works on at once; without one it has no effect",
              OptionKind::kRun);
  options.at_least("batch", 1);
  options.at_most("batch", 4096);
  options.flag("--cuda-graph", cuda_graph_,
               "Record the forward pass on a GPU once and replay it for every batch, instead of launching it kernel by "
               "kernel; without a GPU it has no effect",
               OptionKind::kRun);
  if (shards) shard_.declare(options);
}

int MaskcutWork::run(const Common& common, const Options& options, const std::string& verb,
                     const MaskcutOutputs& outputs) {
  const auto report = pictures_.report_at_end(common);
  ImageJob job;
  job.inputs = inputs_.collect();
  say_reading(common, job.inputs);
  if (job.inputs.ignored() > 0) {
    common.detail("{} files are no pictures by their name and were left out", job.inputs.ignored());
  }
  if (!outputs.overlays.empty() || !outputs.dump.empty()) check_output_paths(job.inputs);
  const auto source = source_.open(common);
  job.output = outputs.coco;
  job.shard = Shard::parse(shard_.text);
  job.reads = inputs_.inputs;
  job.reads.push_back(source_.weights);
  job.files = outputs.beside;
  if (!outputs.times.empty()) job.files.emplace_back("--times", outputs.times);
  const MaskcutFolders folders{job.add_folder(common, "--overlays", outputs.overlays, ".jpg"),
                               job.add_folder(common, "--dump", outputs.dump, ""), outputs.dumped};
  job.categories = {{1, "fg", "fg"}};
  job.info = make_info(verb, common, options, source_.weights_sha256());
  source->describe(job.info);
  const MaskCutOptions cut = cut_options(source->patch());
  clock_ = std::make_shared<StageClock>(std::vector<std::string>{kReading, kFeatures, kCuts, kMasks, kRecording});
  job.load = [&](const InputImage& input) -> ImageCompute {
    const StageClock::Scope time(*clock_, kReading);
    const Tensor image = decode(input);
    const PreparedPicture prepared = source->prepare(input, image);
    return [&, input, image, prepared] {
      const auto features = [&] {
        const StageClock::Scope time_of_features(*clock_, kFeatures);
        return source->features(prepared);
      }();
      return compute(input, image, features, cut, folders);
    };
  };
  if (const Device device = common.device(); !device.is_cpu()) {
    job.batched = batched(*source, device, cut, folders);
    job.info["batch"] = batch_;  // the pictures that the device gets at once decide how its library multiplies
  }
  const int status = run_image_job(common, job);
  if (!outputs.times.empty() && !common.dry_run && common.leads()) {
    make_folder_of(outputs.times);
    clock_->write(named_output(outputs.times));
  }
  return status;
}

std::function<fs::path(const std::string&)> MaskcutWork::picture_paths() const {
  const auto paths = std::make_shared<std::unordered_map<std::string, fs::path>>();
  const InputList inputs = inputs_.collect();
  for (std::int64_t i = 0; i < inputs.size(); ++i) {
    InputImage input = inputs[i];
    paths->emplace(std::move(input.file_name), std::move(input.path));
  }
  return [paths](const std::string& name) {
    const auto found = paths->find(name);
    return found == paths->end() ? fs::path(name) : found->second;
  };
}

std::string MaskcutWork::features_key() const {
  return nlohmann::json({source_.weights, source_.backbone, source_.kind, source_.from_features, source_.size,
                         source_.patch, source_.native_aspect, pictures_.pixels_key()})
      .dump();
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

Tensor MaskcutWork::decode(const InputImage& input) const { return decode_image(input.path, pictures_.decode()); }

ImageResult MaskcutWork::compute(const InputImage& input, const Tensor& image, const Tensor& features,
                                 MaskCutOptions cut, const MaskcutFolders& outputs) const {
  const auto dump = std::make_shared<Dump>();
  if (outputs.dump) cut.dump = dump->sink(outputs.dumped);
  CutResult cuts = [&] {
    const StageClock::Scope time(*clock_, kCuts);
    return cut_features(features, working_size(image.size(0), image.size(1), cut), cut);
  }();
  const MaskCutResult result = [&] {
    const StageClock::Scope time(*clock_, kMasks);
    return refine_cuts(std::move(cuts), image, cut);
  }();
  const StageClock::Scope time(*clock_, kRecording);
  clock_->count_image();
  return make_result(input, image, result, cut.preset, outputs, dump);
}

BatchWork MaskcutWork::batched(const FeatureSource& source, Device device, const MaskCutOptions& cut,
                               const MaskcutFolders& outputs) const {
  // A picture on its way through the stages.
  struct Picture {
    InputImage input;
    Tensor image;
    PreparedPicture prepared;
    Tensor features;
    std::shared_ptr<Dump> dump = std::make_shared<Dump>();
  };
  using Shared = std::shared_ptr<Picture>;
  Stream::current(device).synchronize();  // the weights are there for all streams
  BatchWork work;
  work.batch = batch_;
  work.load = [this, &source](const InputImage& input) -> std::any {
    const auto picture = std::make_shared<Picture>();
    const StageClock::Scope time(*clock_, kReading);
    picture->input = input;
    picture->image = decode(input);
    picture->prepared = source.prepare(input, picture->image);
    if (!source.takes_batches()) picture->features = source.features(picture->prepared);
    return picture;
  };
  work.compute = [this, &source, device, cut, outputs](const std::vector<std::any>& loaded) {
    thread_local const Stream stream = Stream::create(device);  // as long as the thread's library handles
    const StreamScope scope(stream);
    std::vector<Shared> pictures;
    std::vector<const PreparedPicture*> prepared;
    for (const std::any& one : loaded) {
      pictures.push_back(std::any_cast<Shared>(one));
      prepared.push_back(&pictures.back()->prepared);
    }
    if (source.takes_batches()) {
      const StageClock::Scope time(*clock_, kFeatures);
      thread_local const BatchFeatures together = source.batch_features(batch_, cuda_graph_);
      std::vector<Tensor> features = together(prepared);
      for (std::size_t i = 0; i < pictures.size(); ++i) pictures[i]->features = std::move(features[i]);
    }
    // Eigenproblems of one size are solved in step.
    std::map<std::vector<std::int64_t>, std::vector<std::size_t>> by_shape;
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      const Tensor& map = pictures[i]->features;
      check(map.defined() && map.rank() == 3 && map.numel() > 0, "maskcut: expected features [D, h, w], got {}",
            map.shape());
      by_shape[{map.size(0), map.size(1), map.size(2)}].push_back(i);
    }
    std::vector<BatchedPicture> out(pictures.size());
    for (const auto& [shape, members] : by_shape) {
      std::vector<FrameSize> frames;
      std::vector<MaskCutOptions> options;
      Tensor features =
          Tensor::empty({static_cast<std::int64_t>(members.size()), shape[0], shape[1], shape[2]}, DType::kF32, device);
      for (const std::size_t i : members) {
        const Picture& picture = *pictures[i];
        features.select(0, static_cast<std::int64_t>(frames.size())).copy_from(picture.features.to(device));
        frames.push_back(working_size(picture.image.size(0), picture.image.size(1), cut));
        options.push_back(cut);
        if (outputs.dump) options.back().dump = picture.dump->sink(outputs.dumped);
      }
      const std::vector<PictureCuts> cuts = [&] {
        const StageClock::Scope time(*clock_, kCuts);
        return cut_features_batch(features, frames, options);
      }();
      for (std::size_t m = 0; m < members.size(); ++m) {
        const Shared& picture = pictures[members[m]];
        picture->prepared = {};
        picture->features = {};
        BatchedPicture& done = out[members[m]];
        done.error = cuts[m].error;
        done.finish = [picture, result = cuts[m].result, own = options[m], outputs, device, clock = clock_] {
          const StreamScope own_stream(Stream::create(device));  // beside the next batches' work
          const MaskCutResult refined = [&] {
            const StageClock::Scope time(*clock, kMasks);
            return refine_cuts(result, picture->image, own, device);
          }();
          const StageClock::Scope time(*clock, kRecording);
          clock->count_image();
          return make_result(picture->input, picture->image, refined, own.preset, outputs, picture->dump);
        };
      }
    }
    return out;
  };
  return work;
}

}  // namespace usol
