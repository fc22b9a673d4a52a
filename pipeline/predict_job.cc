#include "usol/pipeline/predict_job.h"

#include <cstddef>
#include <future>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "usol/io/checkpoint.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/image.h"
#include "usol/models/detector.h"
#include "usol/models/tta.h"
#include "usol/pipeline/batch_pipeline.h"
#include "usol/pipeline/detector_categories.h"
#include "usol/pipeline/overlay.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"
#include "usol/tensor/stream.h"

namespace usol {
namespace {

detection::Detections on_cpu(const detection::Detections& d) {
  return {d.boxes.to(Device{}), d.scores.to(Device{}), d.classes.to(Device{}),
          d.masks.defined() ? d.masks.to(Device{}) : d.masks, d.frame};
}

// Each weight meets the map at a sixteenth of the picture's sides, on average over a feature pyramid; a pixel's share
// of the maps is what a ResNet-50's is with 256 channels.
PictureCost cost_of(double weights, const Size& picture) {
  constexpr double kStride = 16, kBytesOfPixel = 1000;
  const double pixels = static_cast<double>(picture.height) * static_cast<double>(picture.width);
  PictureCost cost;
  cost.flops = 2 * weights * pixels / (kStride * kStride);
  cost.bytes += kBytesOfPixel * pixels;
  return cost;
}

// A picture on its way.
struct Picture {
  InputImage input;
  Tensor image, resized;      // as decoded, and at the network's size
  std::vector<Tensor> views;  // ... and at those of the augmentation
};

// The detector at work, with what the job left open settled.
struct Predictor {
  PredictJob job;
  const Detector& model;
  std::vector<io::CocoCategory> categories = {};  // of each class
  std::shared_ptr<io::OutputFolder> look = {};    // for the overlays
  std::shared_ptr<OverlayFiles> overlays = std::make_shared<OverlayFiles>();

  Picture read(const InputImage& input) const {
    Picture picture{input, io::decode_image(input.path, job.pictures.decode()), {}, {}};
    picture.resized = resized_for_network(picture.image, job.short_px, job.long_px);
    if (job.tta) picture.views = job.tta_views.of(picture.resized);
    return picture;
  }

  // What is in the pictures, in pixels of `resized`, or of `image` with augmentation.
  std::vector<detection::Detections> detect(const std::vector<const Picture*>& pictures) const {
    const detection::DetectOptions how{.score = job.score, .nms = job.nms, .most = job.most};
    std::vector<Tensor> resized;
    std::vector<detection::Detections> found;
    for (const Picture* p : pictures) {
      if (job.tta)
        found.push_back(detection::detect_augmented(model, p->views, job.tta_views.mirrored,
                                                    {p->image.size(0), p->image.size(1)}, how));
      resized.push_back(p->resized);
    }
    return job.tta ? found : model.detect(resized, how);
  }

  // Together go the pictures that the network pads to one size, so that none gets another frame than alone.
  BatchedJob batched(Device device) const {
    using Shared = std::shared_ptr<const Picture>;
    Stream::current(device).synchronize();  // the weights are there for all streams
    BatchWork<Shared> work;
    work.batch = job.batch;
    work.load = [this](const InputImage& input) { return std::make_shared<const Picture>(read(input)); };
    work.worker = [this, device]() -> BatchWork<Shared>::Compute {
      return [this, stream = Stream::of_this_thread(device)](const std::vector<Shared>& pictures) {
        const StreamScope scope(stream);
        return detect_by_size(pictures);
      };
    };
    return in_batches(std::move(work));
  }

  std::vector<BatchedPicture> detect_by_size(const std::vector<std::shared_ptr<const Picture>>& pictures) const {
    const std::int64_t step = model.info().step_px;
    const auto padded = [&](std::int64_t size) { return (size + step - 1) / step * step; };
    std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::size_t>> by_size;
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      const Tensor& resized = pictures[i]->resized;
      by_size[{padded(resized.size(0)), padded(resized.size(1))}].push_back(i);
    }
    std::vector<BatchedPicture> out(pictures.size());
    for (const auto& [size, members] : by_size) {
      std::vector<const Picture*> together;
      for (const std::size_t i : members) together.push_back(pictures[i].get());
      const std::vector<detection::Detections> found = detect(together);
      for (std::size_t m = 0; m < members.size(); ++m)
        out[members[m]].finish = [this, picture = pictures[members[m]], on_host = on_cpu(found[m])] {
          return make_result(*picture, on_host);
        };
    }
    return out;
  }

  ImageResult make_result(const Picture& picture, const detection::Detections& detections) const {
    const InputImage& input = picture.input;
    std::vector<FoundObject> found = to_picture(detections, job.tta ? picture.image : picture.resized, picture.image);
    drop_wide(found, job.widest_share, picture.image.size(1));
    ImageResult result;
    result.record.image =
        io::coco_image_json({input.id, picture.image.size(0), picture.image.size(1), input.file_name});
    for (const FoundObject& f : found) {
      io::CocoAnnotation annotation = f.annotation(input.id, categories[static_cast<std::size_t>(f.label)].id);
      annotation.id = static_cast<std::int64_t>(result.record.annotations.size()) + 1;
      result.record.annotations.push_back(io::coco_annotation_json(annotation, f.mask));
    }
    if (!look) return result;
    std::vector<std::byte> overlay =
        overlays->encode(input.file_name, [&] { return draw_found(picture.image, found); });
    if (overlay.empty()) return result;
    result.saved_bytes = overlay.size();
    result.save = [folder = look, overlay = std::move(overlay), name = input.file_name] {
      folder->write(output_path({}, name, ".jpg").generic_string(), overlay);
    };
    return result;
  }
};

}  // namespace

void PredictJob::declare(Settings& settings) {
  inputs.declare(settings);
  pictures.declare(settings);
  settings.group("Detector");
  settings.add("weights FILE", weights, "The detector's weights (.pth, .pkl, .safetensors)", OptionKind::kRun);
  settings.add(
      "entry NAME", entry,
      "Take this entry of the weights' dict (\"model_ema\", \"a/b\") or names behind a prefix (\"model/teacher.\", a "
      "dot at its end) instead of looking",
      OptionKind::kRun);
  settings.add("score NUMBER", score, "Objects must score more than this; 0 for evaluation").between(0, 1);
  settings.add("nms IOU", nms, "Of objects that overlap more than this, the best stays").between(0, 1);
  settings.add("most N", most, "Objects per picture at most").between(1, 100000);
  settings
      .add("widest-share NUMBER", widest_share,
           "Of these, leave out boxes as wide or wider than this share of the picture, as FreeSOLO's second round does "
           "with 0.95; 0: none",
           OptionKind::kLater)
      .between(0, 1);
  settings
      .add("short-side PX", short_px,
           "Pictures are resized so that this is their short side ... 0: what the detector is made for, 800, or the "
           "side of ViTDet's square")
      .between(0, 16384);
  settings.add("long-side PX", long_px, "... but the long one no longer than this; 0: 1333, or that square")
      .between(0, 16384);
  settings.flag("tta", tta,
                "Test-time augmentation: look at each picture in several sizes, merge the boxes of all and average "
                "their masks; ten to twenty times the work");
  settings.add("tta-short-sides PX", tta_views.short_sides, "Those sizes: the short side, resized from short-side ...")
      .at_least(1);
  settings.add("tta-long-side PX", tta_views.long_px, "... but the long one no longer than this").between(1, 16384);
  settings.flag("no-tta-flip", tta_views.mirrored, "Without the mirror image of each size");
  settings.group("Running");
  settings.add("batch N", batch, "Pictures that a GPU works on at once; a CPU takes them one by one", OptionKind::kRun)
      .between(1, 4096);
  shard.declare(settings);
}

void PredictOutputs::declare(Settings& settings) {
  settings.group("Output");
  settings.add("out FILE", coco, "The COCO file to write; FILE.journal lies beside it meanwhile", OptionKind::kRun);
  settings.add("overlays DIR", overlays, "Also a picture of each result: masks, boxes, scores", OptionKind::kRun);
}

int PredictJob::run(const Run& run, const PredictOutputs& outputs) const {
  const auto report = pictures.report_at_end(run);
  ImageJob job;
  job.inputs = inputs.collect();
  say_reading(run, job.inputs);
  if (!outputs.overlays.empty()) check_output_paths(job.inputs);
  const Device device = run.device;
  auto sha256 = std::async(std::launch::async, [&] { return io::checkpoint_sha256(weights); });
  io::Checkpoint checkpoint = io::load_checkpoint(weights, {.entry = entry});
  for (const auto& text : checkpoint.applied) run.detail("{}: {}", weights, text);
  double weights_count = 0;
  for (const auto& [name, tensor] : checkpoint.tensors) weights_count += static_cast<double>(tensor.numel());
  const std::unique_ptr<const Detector> detector =
      load_detector(std::move(checkpoint.tensors), weights, device, run.precision);
  const Detector& model = *detector;
  const detection::Info about = model.info();
  if (tta) detection::check_augmentable(model);
  Predictor predictor{*this, model};
  if (predictor.job.short_px == 0) predictor.job.short_px = about.short_px;
  if (predictor.job.long_px == 0) predictor.job.long_px = about.long_px;
  if (tta) predictor.job.batch = 1;  // a picture's own sizes are the batch
  predictor.categories = detector_categories(checkpoint.metadata, about.classes);
  run.note("{}: {} on {}", weights, about.name, to_string(device));
  job.output = outputs.coco;
  job.shard = Shard::parse(shard.text);
  job.reads = inputs.inputs;
  job.reads.push_back(weights);
  predictor.look = job.add_folder(run, "overlays", outputs.overlays, ".jpg");
  job.categories = predictor.categories;
  job.info = make_info(run, settings_json(*this, "predict"), sha256.get());
  if (!entry.empty()) job.info["weights_entry"] = entry;  // as much a part of the result as the weights
  job.info["detector"] = about.name;
  job.cost = cost_of(weights_count, {predictor.job.short_px, predictor.job.long_px});
  if (tta) job.cost->flops *= static_cast<double>(tta_views.short_sides.size());
  job.load = [&](const InputImage& input) -> ImageCompute {
    return [&, picture = predictor.read(input)] {
      return predictor.make_result(picture, predictor.detect({&picture})[0]);
    };
  };
  if (!device.is_cpu()) {
    job.batched = predictor.batched(device);
    job.info["batch"] =
        predictor.job.batch;  // the pictures that the device gets at once decide how its library multiplies
  }
  const int status = run_image_job(run, job);
  predictor.overlays->say(run);
  return status;
}

}  // namespace usol
