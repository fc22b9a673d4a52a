#include "usol/pipeline/maskcut_job.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "usol/io/image.h"
#include "usol/io/npy.h"
#include "usol/io/rle.h"
#include "usol/io/utf8.h"
#include "usol/maskcut/cut_batch.h"
#include "usol/maskcut/discoverer.h"
#include "usol/pipeline/batch_pipeline.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/overlay.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"
#include "usol/tensor/stream.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

// The stages that --times tells apart.
constexpr const char *kReading = "reading, resizing", *kFeatures = "features", *kCuts = "cuts", *kMasks = "CRF, masks",
                     *kRecording = "records, pictures";

constexpr double kBytesOfPixel = 300;  // of the frame: the CRF's lattices

// Every stage's arrays of one picture, kept until they are saved.
struct Dump {
  std::vector<std::pair<std::string, Tensor>> arrays;

  // `wanted`: names without the stage's number; none: all.
  maskcut::DumpSink sink(const std::vector<std::string>& wanted) {
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
  void save(io::OutputFolder& folder, const std::string& picture) const {
    const std::string inside = output_path({}, picture, "").generic_string();
    for (const auto& [name, array] : arrays)
      folder.write(fmt::format("{}/{}.npy", inside, name),
                   [&values = array](const fs::path& path) { io::save_npy(path, values); });
  }
};

ImageRecord make_record(const InputImage& input, const Tensor& image, const maskcut::MaskCutResult& result,
                        Preset preset) {
  ImageRecord record;
  io::CocoImage entry{input.id, image.size(0), image.size(1), input.file_name};
  if (preset == Preset::kRelease) std::swap(entry.height, entry.width);  // as the release writes them
  record.image = io::coco_image_json(entry);
  for (const auto& mask : result.masks) {
    const io::Rle rle = io::rle_encode(mask.mask);
    io::CocoAnnotation annotation = maskcut_annotation(input.id, mask, rle);
    annotation.id = static_cast<std::int64_t>(record.annotations.size()) + 1;
    record.annotations.push_back(io::coco_annotation_json(annotation, rle));
  }
  return record;
}

// The record, the overlay and the dump of a picture whose masks are known.
ImageResult make_result(const InputImage& input, const Tensor& image, const maskcut::MaskCutResult& result,
                        Preset preset, const MaskcutFolders& outputs, const std::shared_ptr<Dump>& dump) {
  ImageResult out;
  out.record = make_record(input, image, result, preset);
  if (!outputs.overlays && !outputs.dump) return out;
  std::vector<std::byte> overlay;
  if (outputs.overlays) overlay = outputs.look->encode(input.file_name, [&] { return draw_maskcut(image, result); });
  out.saved_bytes = overlay.size() + dump->bytes();
  out.save = [outputs, dump, overlay = std::move(overlay), name = input.file_name] {
    if (!overlay.empty()) outputs.overlays->write(output_path({}, name, ".jpg").generic_string(), overlay);
    if (outputs.dump) dump->save(*outputs.dump, name);
  };
  return out;
}

// "x,P" -> x and P.
std::vector<std::string> split_names(const std::string& text) {
  std::vector<std::string> names;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    names.push_back(text.substr(start, comma - start));
    start = comma + 1;
  }
  return names;
}

}  // namespace

io::CocoAnnotation maskcut_annotation(std::int64_t image_id, const maskcut::PseudoMask& mask, const io::Rle& rle) {
  io::CocoAnnotation annotation;
  annotation.image_id = image_id;
  annotation.category_id = 1;
  annotation.box = io::rle_to_box(rle);
  annotation.area = static_cast<double>(io::rle_area(rle));
  annotation.score = mask.score;
  annotation.has_score = true;
  return annotation;
}

void MaskcutJob::declare(Settings& settings, bool shards) {
  inputs.declare(settings);
  features.declare(settings);
  pictures.declare(settings);
  settings.group("Cuts");
  settings.preset(preset, {{"paper", {}}, {"release", {{"exif", "false"}}}},
                  "paper: as published. release: as the public code does it, slips included (docs/deviations.md)");
  settings
      .add("tau NUMBER", tau,
           "Patches whose features have at least this cosine are connected. Without it 0.15, as published for "
           "DINO's keys and DINOv2's output (docs/features.md); for other features it must be tuned")
      .between(-1, 1);
  settings.add("masks N", masks, "Cuts per picture, so the most masks it can get").between(1, 1000);
  settings.flag("no-crf", crf, "Leave the masks as the cuts give them, in steps of a patch");
  settings.choice("eigensolver", eigensolver, {"lanczos", "dense"}, "dense is slow: a second opinion, and for study");
  settings.add("stop-eigenvalue NUMBER", stop_eigenvalue,
               "End before the first cut whose second eigenvalue exceeds this (2: never)");
  settings.add("max-ncut NUMBER", max_ncut, "Drop objects whose cut costs more than this (2: none)");
  settings.group("Running");
  settings.add("batch N", batch, "Pictures that a GPU works on at once; without one it has no effect", OptionKind::kRun)
      .between(1, 4096);
  settings.flag(
      "cuda-graph", cuda_graph,
      "Record the forward pass on a GPU once and replay it for every batch, instead of launching it kernel by "
      "kernel; without a GPU it has no effect",
      OptionKind::kRun);
  if (shards) shard.declare(settings);
}

void MaskcutOutputs::declare(Settings& settings) {
  settings.group("Output");
  settings.add("out FILE", coco, "The COCO file to write; FILE.journal lies beside it meanwhile", OptionKind::kRun);
  settings.add("overlays DIR", overlays, "Also a picture of each result: masks, boxes, scores, eigenvectors",
               OptionKind::kRun);
  settings.add("dump DIR", dump, "Also every stage as .npy, under the names of the equations (K, W_1, d_1, x_1, ...)",
               OptionKind::kRun);
  settings.add("dump-only NAMES", dumped, "Of these, only some: x,P is what usol report shows, and far smaller than W",
               OptionKind::kRun);
  settings.add("times FILE", times,
               "Also how many seconds each stage took, for usol report (with a GPU: how long the host was in it; of "
               "several processes: the first one's)",
               OptionKind::kRun);
}

int MaskcutJob::run(const Run& run, const MaskcutOutputs& outputs) {
  const auto report = pictures.report_at_end(run);
  ImageJob job;
  job.inputs = inputs.collect();
  say_reading(run, job.inputs);
  if (!outputs.overlays.empty() || !outputs.dump.empty()) check_output_paths(job.inputs);
  const auto source = features.open(run);
  job.output = outputs.coco;
  job.shard = Shard::parse(shard.text);
  job.reads = inputs.inputs;
  job.reads.push_back(features.weights);
  job.files = outputs.beside;
  if (!outputs.times.empty()) job.files.emplace_back("times", outputs.times);
  const MaskcutFolders folders{job.add_folder(run, "overlays", outputs.overlays, ".jpg"),
                               job.add_folder(run, "dump", outputs.dump, ""), split_names(outputs.dumped),
                               std::make_shared<OverlayFiles>()};
  job.categories = {{1, "fg", "fg"}};
  job.info = make_info(run, settings_json(*this, "maskcut"));
  job.complete_info = [&](nlohmann::ordered_json& info) { features.record_weights(info); };
  source->describe(job.info);
  settle_tau(run, *source);
  record(job.info);
  const maskcut::MaskCutOptions cut = cut_options(source->patch());
  job.cost = cost(*source, folders);
  clock_ = std::make_shared<StageClock>(std::vector<std::string>{kReading, kFeatures, kCuts, kMasks, kRecording});
  counts_ = std::make_shared<UndividedPictures>();
  job.load = [&](const InputImage& input) -> ImageCompute {
    const StageClock::Scope time(*clock_, kReading);
    const Tensor image = decode(input);
    const PreparedPicture prepared = source->prepare(input, image);
    return [&, input, image, prepared] {
      const auto map = [&] {
        const StageClock::Scope time_of_features(*clock_, kFeatures);
        return source->features(prepared);
      }();
      return compute(input, image, map, cut, folders);
    };
  };
  if (const Device device = run.device; !device.is_cpu()) {
    job.batched = batched(*source, device, cut, folders);
    job.info["batch"] = batch;  // the pictures that the device gets at once decide how its library multiplies
  }
  const int status = run_image_job(run, job);
  counts_->say(run, maskcut::why_all_connected(*tau, true));
  folders.look->say(run);
  if (!outputs.times.empty() && !run.dry_run && run.leads()) {
    make_folder_of(outputs.times);
    clock_->write(named_output(outputs.times));
  }
  return status;
}

std::function<fs::path(const std::string&)> MaskcutJob::picture_paths() const {
  const auto paths = std::make_shared<std::unordered_map<std::string, fs::path>>();
  const InputList list = inputs.collect();
  for (std::int64_t i = 0; i < list.size(); ++i) {
    InputImage input = list[i];
    paths->emplace(std::move(input.file_name), std::move(input.path));
  }
  return [paths](const std::string& name) {
    const auto found = paths->find(name);
    return found == paths->end() ? fs::path(name) : found->second;
  };
}

std::string MaskcutJob::features_key() const {
  return nlohmann::json({io::printable(features.weights), features.backbone, features.kind, features.layers,
                         io::printable(features.from_features), features.size, features.patch, features.native_aspect,
                         pictures.pixels_key()})
      .dump();
}

void MaskcutJob::settle_tau(const Run& run, const FeatureSource& source) {
  if (tau) return;
  const maskcut::UsualTau usual = source.usual_tau();
  tau = usual.tau;
  if (usual.source.empty())
    run.note("tau is {}, as for DINO's keys: nobody has published one for these features, so try others (usol sweep)",
             usual.tau);
}

void MaskcutJob::record(nlohmann::ordered_json& info) const {
  features.record(info);
  const auto settings = info.find("settings");
  if (settings != info.end() && settings->contains("tau")) (*settings)["tau"] = tau.value();
}

maskcut::MaskCutOptions MaskcutJob::cut_options(std::int64_t patch) const {
  maskcut::MaskCutOptions cut;
  cut.preset = parse_preset(preset);
  if (tau) cut.tau = *tau;
  cut.masks = static_cast<int>(masks);
  cut.size = features.size;
  cut.patch = patch;
  cut.native_aspect = features.native_aspect;
  cut.crf = crf;
  cut.eigensolver = eigensolver == "dense" ? maskcut::Eigensolver::kDense : maskcut::Eigensolver::kLanczos;
  if (stop_eigenvalue < 2) cut.stop_eigenvalue = stop_eigenvalue;
  if (max_ncut < 2) cut.max_ncut = max_ncut;
  return cut;
}

PictureCost MaskcutJob::cost(const FeatureSource& source, const MaskcutFolders& outputs) const {
  PictureCost cost = source.cost();
  const auto side = static_cast<double>(features.size);
  cost.bytes += kBytesOfPixel * side * side;
  if (outputs.dump) {  // two results wait for each picture in work
    const double patches = side * side / static_cast<double>(source.patch() * source.patch());
    cost.bytes += 3 * static_cast<double>(masks) * patches * patches * sizeof(float);
  }
  return cost;
}

Tensor MaskcutJob::decode(const InputImage& input) const { return io::decode_image(input.path, pictures.decode()); }

ImageResult MaskcutJob::compute(const InputImage& input, const Tensor& image, const Tensor& map,
                                maskcut::MaskCutOptions cut, const MaskcutFolders& outputs) const {
  const auto dump = std::make_shared<Dump>();
  if (outputs.dump) cut.dump = dump->sink(outputs.dumped);
  maskcut::CutResult cuts = [&] {
    const StageClock::Scope time(*clock_, kCuts);
    return maskcut::cut_features(map, maskcut::working_size(image.size(0), image.size(1), cut), cut);
  }();
  const maskcut::MaskCutResult result = [&] {
    const StageClock::Scope time(*clock_, kMasks);
    return maskcut::refine_cuts(std::move(cuts), image, cut);
  }();
  const StageClock::Scope time(*clock_, kRecording);
  clock_->count_image();
  counts_->add(result.uncut());
  return make_result(input, image, result, cut.preset, outputs, dump);
}

BatchedJob MaskcutJob::batched(const FeatureSource& source, Device device, const maskcut::MaskCutOptions& cut,
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
  BatchWork<Shared> work;
  work.batch = batch;
  work.load = [this, &source](const InputImage& input) {
    const auto picture = std::make_shared<Picture>();
    const StageClock::Scope time(*clock_, kReading);
    picture->input = input;
    picture->image = decode(input);
    picture->prepared = source.prepare(input, picture->image);
    if (!source.takes_batches()) picture->features = source.features(picture->prepared);
    return picture;
  };
  const auto compute = [this, &source, device, cut, outputs](const std::vector<Shared>& together,
                                                             const BatchFeatures& features_of) {
    if (source.takes_batches()) {
      const StageClock::Scope time(*clock_, kFeatures);
      std::vector<const PreparedPicture*> prepared;
      for (const Shared& picture : together) prepared.push_back(&picture->prepared);
      std::vector<Tensor> maps = features_of(prepared);
      for (std::size_t i = 0; i < together.size(); ++i) together[i]->features = std::move(maps[i]);
    }
    // Eigenproblems of one size are solved in step.
    std::map<std::vector<std::int64_t>, std::vector<std::size_t>> by_shape;
    for (std::size_t i = 0; i < together.size(); ++i) {
      const Tensor& map = together[i]->features;
      check(map.defined() && map.rank() == 3 && map.numel() > 0, "maskcut: expected features [D, h, w], got {}",
            map.shape());
      by_shape[{map.size(0), map.size(1), map.size(2)}].push_back(i);
    }
    std::vector<BatchedPicture> out(together.size());
    for (const auto& [shape, members] : by_shape) {
      std::vector<Size> frames;
      std::vector<maskcut::MaskCutOptions> options;
      Tensor maps =
          Tensor::empty({static_cast<std::int64_t>(members.size()), shape[0], shape[1], shape[2]}, DType::kF32, device);
      for (const std::size_t i : members) {
        const Picture& picture = *together[i];
        maps.select(0, static_cast<std::int64_t>(frames.size())).copy_from(picture.features.to(device));
        frames.push_back(maskcut::working_size(picture.image.size(0), picture.image.size(1), cut));
        options.push_back(cut);
        if (outputs.dump) options.back().dump = picture.dump->sink(outputs.dumped);
      }
      const std::vector<maskcut::PictureCuts> cuts = [&] {
        const StageClock::Scope time(*clock_, kCuts);
        return maskcut::cut_features_batch(maps, frames, options);
      }();
      for (std::size_t m = 0; m < members.size(); ++m) {
        const Shared& picture = together[members[m]];
        picture->prepared = {};
        picture->features = {};
        BatchedPicture& done = out[members[m]];
        done.error = cuts[m].error;
        done.finish = [picture, result = cuts[m].result, own = options[m], outputs, device, clock = clock_,
                       counts = counts_] {
          const StreamScope own_stream(Stream::of_this_thread(device));  // beside the next batches' work
          const maskcut::MaskCutResult refined = [&] {
            const StageClock::Scope time(*clock, kMasks);
            return maskcut::refine_cuts(result, picture->image, own, device);
          }();
          const StageClock::Scope time(*clock, kRecording);
          clock->count_image();
          counts->add(refined.uncut());
          return make_result(picture->input, picture->image, refined, own.preset, outputs, picture->dump);
        };
      }
    }
    return out;
  };
  work.worker = [this, &source, device, compute]() -> BatchWork<Shared>::Compute {
    const Stream stream = Stream::of_this_thread(device);
    const StreamScope while_made(stream);
    return
        [compute, stream, features_of = source.batch_features(batch, cuda_graph)](const std::vector<Shared>& together) {
          const StreamScope scope(stream);
          return compute(together, features_of);
        };
  };
  return in_batches(std::move(work));
}

}  // namespace usol
