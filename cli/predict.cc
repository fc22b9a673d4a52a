// usol predict: pictures -> objects, with a trained detector. The answers of a training round, and the pseudo-masks of
// the next one.
#include <any>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "usol/cli/detect.h"
#include "usol/cli/image_job.h"
#include "usol/cli/inputs.h"
#include "usol/cli/picture_options.h"
#include "usol/cli/provenance.h"
#include "usol/cli/reading.h"
#include "usol/cli/verb.h"
#include "usol/cli/whole_numbers.h"
#include "usol/io/atomic_file.h"
#include "usol/io/checkpoint.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/image.h"
#include "usol/models/detector.h"
#include "usol/models/rcnn/tta.h"
#include "usol/tensor/check.h"
#include "usol/tensor/stream.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

detection::Detections on_cpu(const detection::Detections& d) {
  return {d.boxes.to(Device{}), d.scores.to(Device{}), d.classes.to(Device{}),
          d.masks.defined() ? d.masks.to(Device{}) : d.masks};
}

// A picture on its way.
struct Picture {
  InputImage input;
  Tensor image, resized;      // as decoded, and at the network's size
  std::vector<Tensor> views;  // ... and at those of --tta
};

class PredictVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Finds the objects in pictures with a detector: Cascade Mask R-CNN or Mask R-CNN on a ResNet with a feature "
        "pyramid, as CutLER trains them, or on ViTDet. The objects go to a COCO file (compressed RLE masks, boxes, "
        "scores), ready for evaluation or as the pseudo-masks of another round of training.");
    inputs_.declare(options);
    pictures_.declare(options);
    options.group("Detector");
    options.add("--weights FILE", weights_, "The detector's weights (.pth, .pkl, .safetensors)", OptionKind::kRun);
    options.add("--score NUMBER", score_, "Objects must score more than this; 0 for evaluation");
    options.at_least("score", 0);
    options.at_most("score", 1);
    options.add("--nms IOU", nms_, "Of objects that overlap more than this, the best stays");
    options.at_least("nms", 0);
    options.at_most("nms", 1);
    options.add("--most N", most_, "Objects per picture at most");
    options.at_least("most", 1);
    options.at_most("most", 100000);
    options.add(
        "--short-side PX", short_px_,
        "Pictures are resized so that this is their short side ... 0: what the detector is made for, 800, or the "
        "side of ViTDet's square");
    options.at_least("short-side", 0);
    options.at_most("short-side", 16384);
    options.add("--long-side PX", long_px_, "... but the long one no longer than this; 0: 1333, or that square");
    options.at_least("long-side", 0);
    options.at_most("long-side", 16384);
    options.flag("--tta", tta_,
                 "Test-time augmentation: look at each picture in several sizes, merge the boxes of all and average "
                 "their masks; ten to twenty times the work");
    options.add("--tta-short-sides PX", tta_short_sides_, "Those sizes: the short side, resized from --short-side ...");
    options.add("--tta-long-side PX", tta_views_.long_px, "... but the long one no longer than this");
    options.at_least("tta-long-side", 1);
    options.at_most("tta-long-side", 16384);
    options.flag("--no-tta-flip", tta_views_.mirrored, "Without the mirror image of each size");
    options.group("Output");
    options.add("--out FILE", out_, "The COCO file to write; FILE.journal lies beside it meanwhile", OptionKind::kRun);
    options.add("--overlays DIR", overlays_, "Also a picture of each result: masks, boxes, scores", OptionKind::kRun);
    options.group("Running");
    options.add("--batch N", batch_, "Pictures that a GPU works on at once; a CPU takes them one by one",
                OptionKind::kRun);
    options.at_least("batch", 1);
    options.at_most("batch", 4096);
    shard_.declare(options);
    options.example("usol predict images --weights cutler_cascade_final.pth --out found.json --overlays look",
                    "The objects in a folder of pictures, with pictures to look at");
    options.example("usol predict val2017.json --image-root val2017 --weights W.pth --out found.json --score 0",
                    "All detections, for usol eval");
    options.example("usol predict val2017.json --image-root val2017 --weights W.pth --out found.json --score 0 --tta",
                    "The same with Detectron2's test-time augmentation; --tta-short-sides 600,800 for less of it");
  }

  int run(const Common& common, const Options& options) override {
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    check(!weights_.empty(), ErrorKind::kUsage,
          "--weights FILE is missing: a detector's weights, such as CutLER's cutler_cascade_final.pth");
    check(fs::exists(weights_), ErrorKind::kUsage, "--weights {}: no such file", weights_);
    for (const char* key : {"tta-short-sides", "tta-long-side", "tta-flip"})
      check(tta_ || !options.given(key), ErrorKind::kUsage, "--{} is for --tta", key);
    check(!tta_ || !options.given("batch") || batch_ == 1, ErrorKind::kUsage,
          "--batch {}: with --tta a picture's own sizes are the batch; leave it out", batch_);
    if (tta_) {
      tta_views_.short_sides = whole_numbers(tta_short_sides_, "tta-short-sides");
      batch_ = 1;
    }
    const auto report = pictures_.report_at_end(common);
    ImageJob job;
    job.inputs = inputs_.collect();
    say_reading(common, job.inputs);
    if (job.inputs.ignored() > 0)
      common.detail("{} files are no pictures by their name and were left out", job.inputs.ignored());
    if (!overlays_.empty()) check_output_paths(job.inputs);
    const Device device = common.device();
    const std::string sha256 = checkpoint_sha256(weights_);
    Checkpoint checkpoint = load_checkpoint(weights_);
    for (const auto& text : checkpoint.applied) common.detail("{}: {}", weights_, text);
    const std::unique_ptr<const Detector> detector =
        load_detector(std::move(checkpoint.tensors), weights_, device, common.compute_dtype(device));
    const Detector& model = *detector;
    const detection::Info about = model.info();
    const std::int64_t classes = about.classes;
    common.note("{}: {} on {}", weights_, about.name, to_string(device));
    job.output = out_;
    job.shard = Shard::parse(shard_.text);
    job.reads = inputs_.inputs;
    job.reads.push_back(weights_);
    look_ = job.add_folder(common, "--overlays", overlays_, ".jpg");
    for (std::int64_t k = 1; k <= classes; ++k) {
      const std::string label = classes == 1 ? "fg" : fmt::format("class {}", k);
      job.categories.push_back({k, label, label});
    }
    job.info = make_info("predict", common, options, sha256);
    job.info["detector"] = about.name;
    if (short_px_ == 0) short_px_ = about.short_px;
    if (long_px_ == 0) long_px_ = about.long_px;
    job.load = [&](const InputImage& input) -> ImageCompute {
      return [&, picture = read(input)] { return make_result(picture, detect(model, {&picture})[0]); };
    };
    if (!device.is_cpu()) {
      job.batched = batched(model, device);
      job.info["batch"] = batch_;  // the pictures that the device gets at once decide how its library multiplies
    }
    return run_image_job(common, job);
  }
  bool shares_work() const override { return true; }

 private:
  Picture read(const InputImage& input) const {
    Picture picture{input, decode_image(input.path, pictures_.decode()), {}, {}};
    picture.resized = resized_for_network(picture.image, short_px_, long_px_);
    if (tta_) picture.views = tta_views_.of(picture.resized);
    return picture;
  }

  // What is in the pictures, in pixels of `resized`, or of `image` with --tta.
  std::vector<detection::Detections> detect(const Detector& model, const std::vector<const Picture*>& pictures) const {
    const detection::DetectOptions how{.score = score_, .nms = nms_, .most = most_};
    std::vector<Tensor> resized;
    std::vector<detection::Detections> found;
    for (const Picture* p : pictures) {
      if (tta_)
        found.push_back(
            rcnn::detect_augmented(model, p->views, tta_views_.mirrored, {p->image.size(0), p->image.size(1)}, how));
      resized.push_back(p->resized);
    }
    return tta_ ? found : model.detect(resized, how);
  }

  // Together go the pictures that the network pads to one size, so that none gets another frame than alone.
  BatchWork batched(const Detector& model, Device device) const {
    Stream::current(device).synchronize();  // the weights are there for all streams
    BatchWork work;
    work.batch = batch_;
    work.load = [this](const InputImage& input) -> std::any { return std::make_shared<const Picture>(read(input)); };
    const std::int64_t step = model.info().step_px;
    work.compute = [this, &model, device, step](const std::vector<std::any>& loaded) {
      thread_local const Stream stream = Stream::create(device);  // as long as the thread's library handles
      const StreamScope scope(stream);
      std::map<std::pair<std::int64_t, std::int64_t>, std::vector<std::size_t>> by_size;
      std::vector<std::shared_ptr<const Picture>> pictures;
      for (const std::any& one : loaded) {
        pictures.push_back(std::any_cast<std::shared_ptr<const Picture>>(one));
        const Tensor& resized = pictures.back()->resized;
        const auto padded = [&](std::int64_t size) { return (size + step - 1) / step * step; };
        by_size[{padded(resized.size(0)), padded(resized.size(1))}].push_back(pictures.size() - 1);
      }
      std::vector<BatchedPicture> out(pictures.size());
      for (const auto& [size, members] : by_size) {
        std::vector<const Picture*> together;
        for (const std::size_t i : members) together.push_back(pictures[i].get());
        const std::vector<detection::Detections> found = detect(model, together);
        for (std::size_t m = 0; m < members.size(); ++m)
          out[members[m]].finish = [this, picture = pictures[members[m]], on_host = on_cpu(found[m])] {
            return make_result(*picture, on_host);
          };
      }
      return out;
    };
    return work;
  }

  ImageResult make_result(const Picture& picture, const detection::Detections& detections) const {
    const InputImage& input = picture.input;
    const std::vector<FoundObject> found =
        to_picture(detections, tta_ ? picture.image : picture.resized, picture.image);
    ImageResult result;
    result.record.image = coco_image_json({input.id, picture.image.size(0), picture.image.size(1), input.file_name});
    for (const FoundObject& f : found) {
      CocoAnnotation annotation = f.annotation(input.id, f.label + 1);
      annotation.id = static_cast<std::int64_t>(result.record.annotations.size()) + 1;
      result.record.annotations.push_back(coco_annotation_json(annotation, f.mask));
    }
    if (!look_) return result;
    std::vector<std::byte> overlay = encode_jpeg(draw_found(picture.image, found), 90);
    result.saved_bytes = overlay.size();
    result.save = [folder = look_, overlay = std::move(overlay), name = input.file_name] {
      folder->write(output_path({}, name, ".jpg").generic_string(), overlay);
    };
    return result;
  }

  InputOptions inputs_;
  PictureOptions pictures_;
  ShardOption shard_;
  std::string weights_, out_, overlays_;
  std::shared_ptr<OutputFolder> look_;  // for --overlays
  double score_ = 0.35, nms_ = 0.5;
  std::int64_t most_ = 100, short_px_ = 0, long_px_ = 0, batch_ = 8;
  bool tta_ = false;
  TestViews tta_views_;  // but for the short sides
  std::vector<double> tta_short_sides_{tta_views_.short_sides.begin(), tta_views_.short_sides.end()};
};

const RegisterVerb<PredictVerb> kPredict("predict", "objects in pictures, with a trained detector");

}  // namespace
}  // namespace usol
