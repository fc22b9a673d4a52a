// usol eval: scores predictions, pseudo-masks or maps against the truth, and writes the metrics to a file.
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "usol/cli/verb.h"
#include "usol/eval/coco_eval.h"
#include "usol/eval/corloc.h"
#include "usol/eval/match_images.h"
#include "usol/eval/saliency_files.h"
#include "usol/io/atomic_file.h"
#include "usol/io/safetensors.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/picture_options.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol::cli {
namespace {

// Of the maps and masks of --saliency.
const std::vector<std::string> kMapExtensions = {".png", ".jpg", ".jpeg", ".bmp", ".npy"};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    parts.push_back(text.substr(start, comma - start));
    start = comma + 1;
  }
  return parts;
}

std::vector<int> to_max_dets(const std::string& text) {
  std::vector<int> numbers;
  for (const std::string& part : split(text)) {
    int number = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), number);
    check(error == std::errc() && end == part.data() + part.size() && number > 0 &&
              (numbers.empty() || number > numbers.back()),
          ErrorKind::kUsage, "--max-dets: expected ascending numbers above 0, as 1,10,100, got '{}'", text);
    numbers.push_back(number);
  }
  return numbers;
}

std::vector<eval::IouType> to_iou_types(const std::string& text) {
  std::vector<eval::IouType> types;
  for (const std::string& part : split(text)) {
    check(part == "box" || part == "mask", ErrorKind::kUsage, "--iou: expected box, mask or box,mask, got '{}'", text);
    const eval::IouType type = part == "box" ? eval::IouType::kBox : eval::IouType::kMask;
    check(types.empty() || types.back() != type, ErrorKind::kUsage, "--iou: {} twice", part);
    types.push_back(type);
  }
  return types;
}

const char* name_of(eval::IouType type) { return type == eval::IouType::kBox ? "box" : "mask"; }

Json to_json(const eval::Metrics& metrics) {
  Json object = Json::object();
  for (const auto& [name, value] : metrics) object[name] = value;
  return object;
}

// "AP 12.5  AP50 22.4": percentages for the terminal.
std::string to_line(const eval::Metrics& metrics) {
  std::string line;
  for (const auto& [name, value] : metrics) {
    if (!line.empty()) line += "  ";
    line += value < 0 ? fmt::format("{} -", name) : fmt::format("{} {:.1f}", name, 100 * value);
  }
  return line;
}

bool has_masks(const io::AnnotationSet& set) {
  for (const io::CocoAnnotation& annotation : set.annotations) {
    if (annotation.segmentation.kind != io::Segmentation::Kind::kNone) return true;
  }
  return set.annotations.empty();
}

// Throws Error(kFormat) for the first mask whose sides are its image's exchanged: its picture was turned, or not.
void check_sides(const io::AnnotationSet& truth, const io::AnnotationSet& predictions) {
  const io::IdIndex ids = io::index_images(truth);
  for (const io::CocoAnnotation& annotation : predictions.annotations) {
    const io::Segmentation& mask = annotation.segmentation;
    const std::int64_t at = ids.find(annotation.image_id);
    if (at < 0 || mask.kind != io::Segmentation::Kind::kRle || mask.height == mask.width) continue;
    const io::CocoImage& image = truth.images[static_cast<std::size_t>(at)];
    check(mask.height != image.width || mask.width != image.height, ErrorKind::kFormat,
          "{}: its mask has {} x {} pixels (height x width), its image in {} {} x {}: one of the two files was made on "
          "the picture turned as its EXIF orientation says, the other as it is stored; make the predictions with (or "
          "without) --no-exif",
          predictions.place(annotation), mask.height, mask.width, truth.name, image.height, image.width);
  }
}

class EvalVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Scores predictions against the truth by COCO's protocol: average precision and recall of boxes and masks, "
        "equal to pycocotools'. Both files are COCO JSON; predictions may also be a list of results. Fractions go to "
        "--out, percentages to the terminal; -1 stands where there is no truth to compare with. With --corloc or "
        "--saliency, the metrics of single-object discovery and of saliency detection instead.");
    options.group("Files");
    options.add("--gt FILE", truth_path_, "The truth: COCO JSON (with --saliency also a folder of masks)",
                OptionKind::kRun);
    options.add("--pred FILE", predictions_path_,
                "Predictions: a list of results or COCO JSON with scores (with --saliency also a folder of maps)",
                OptionKind::kRun);
    options.add("--out FILE", out_, "The metrics, as JSON", OptionKind::kRun);
    options.add("--curves FILE", curves_,
                "Also write precision [T, R, K, A, M], recall [T, K, A, M] and scores, as safetensors",
                OptionKind::kRun);
    options.add("--image-root DIR", image_root_, "The pictures, for images whose height and width the truth lacks",
                OptionKind::kRun);
    options.flag("--no-exif", exif_, "Those heights and widths: without turning as cameras note it in their files");
    options.group("What is compared");
    options.add("--iou TYPES", iou_, "box, mask, or box,mask");
    options.flag("--box-only", box_only_, "Boxes alone: the same as --iou box");
    options.flag("--class-agnostic", class_agnostic_, "One class for everything");
    options.flag("--pseudo-masks", pseudo_masks_,
                 "Predictions are MaskCut's: class-agnostic, with its own scores (1 where it gave none)");
    options.add("--max-dets LIST", max_dets_, "Detections per image that count; AP uses the last");
    options.choice("--match", match_, {"id", "file_name"}, "How images of the two files belong together");
    options.group("Other metrics");
    options.flag("--corloc", corloc_, "Share of images whose best box has IoU >= 0.5 with any truth");
    options.flag("--saliency", saliency_,
                 "IoU, accuracy and maximal F-beta of foreground maps (PNG 0..255, .npy 0..1, or all masks of a COCO "
                 "file) against masks (nonzero is foreground)");
    pictures_.declare(options, false);
    options.example("usol eval --gt instances_val2017.json --pred coco_instances_results.json --out metrics.json",
                    "All metrics, box and mask, over all categories");
    options.example("usol eval --gt gt.json --pred maskcut.json --pseudo-masks --match file_name --out metrics.json",
                    "How good are the pseudo-masks?");
    options.example("usol eval --gt gt.json --pred results.json --class-agnostic --box-only --out metrics.json",
                    "Class-agnostic boxes");
    options.example("usol eval --saliency --gt DUTS/masks --pred maps --out metrics.json", "Saliency maps");
  }

  int run(const Run& run, const Options& options) override {
    check(!truth_path_.empty(), ErrorKind::kUsage, "--gt FILE is missing");
    check(!predictions_path_.empty(), ErrorKind::kUsage, "--pred FILE is missing");
    check(!out_.empty(), ErrorKind::kUsage, "--out FILE is missing");
    check(!(corloc_ && saliency_), ErrorKind::kUsage, "--corloc and --saliency exclude each other");
    check(curves_.empty() || !(corloc_ || saliency_), ErrorKind::kUsage,
          "--curves goes with average precision, not with --corloc or --saliency");
    check(!box_only_ || !options.given("iou"), ErrorKind::kUsage, "--box-only and --iou exclude each other");
    max_det_list_ = to_max_dets(max_dets_);
    types_ = to_iou_types(box_only_ ? "box" : iou_);
    for (const std::string& path : {truth_path_, predictions_path_}) {
      check(fs::exists(path), ErrorKind::kUsage, "{}: no such file", path);
    }
    check(image_root_.empty() || fs::is_directory(image_root_), ErrorKind::kUsage, "--image-root {}: no such folder",
          image_root_);
    Outputs outputs(run);
    for (const std::string& path : {truth_path_, predictions_path_}) outputs.reads(path);
    if (saliency_) {
      for (const std::string& path : {truth_path_, predictions_path_}) outputs.reads_folder(path, kMapExtensions);
    }
    out_ = outputs.file("--out", out_);
    if (!curves_.empty()) curves_ = outputs.file("--curves", curves_);
    if (run.dry_run) {
      run.note("would score {} against {} and write {}", predictions_path_, truth_path_, out_);
      return kSuccess;
    }
    Json metrics = Json::object();
    if (saliency_) {
      score_saliency(run, metrics);
    } else {
      score_annotations(run, options, metrics);
    }
    metrics["info"] = make_info(run, "{}");
    metrics["info"]["device"] = device_model(Device{});
    make_folder_of(out_);
    io::write_file(out_, metrics.dump(1) + "\n");
    run.note("wrote {}", out_);
    return kSuccess;
  }

 private:
  void score_saliency(const Run& run, Json& metrics) const {
    const auto report = pictures_.report_at_end(run);
    io::DecodeOptions decode = pictures_.decode();
    decode.apply_exif = exif_;
    const eval::SaliencyMean mean = eval::score_saliency_files(
        truth_path_, predictions_path_, {.image_root = image_root_, .apply_exif = exif_},
        [&](const io::AnnotationSet& set) { say_reading(run, set); }, decode);
    run.note("saliency over {} images: {}", mean.images(), to_line(mean.metrics()));
    metrics["saliency"] = to_json(mean.metrics());
    metrics["saliency"]["images"] = mean.images();
  }

  void score_annotations(const Run& run, const Options& options, Json& metrics) {
    const bool masks = !corloc_ && (types_.size() > 1 || types_[0] == eval::IouType::kMask);
    const io::CocoReadOptions reading{.segmentations = masks, .image_root = image_root_, .apply_exif = exif_};
    const io::AnnotationSet truth = io::read_coco(truth_path_, reading);
    io::AnnotationSet predictions = io::read_coco(predictions_path_, reading);
    const std::vector<const io::AnnotationSet*> sets = {&truth, &predictions};
    for (const io::AnnotationSet* set : sets) say_reading(run, *set);
    if (match_ == "file_name") {
      eval::match_by_file_name(truth, predictions);
    } else if (!options.given("match")) {
      eval::check_ids_mean_the_same(truth, predictions);
    }
    check_sides(truth, predictions);
    if (corloc_) {
      score_corloc(run, truth, predictions, metrics);
      return;
    }
    if (pseudo_masks_) fill_scores(run, predictions);
    if (masks) {
      for (const io::AnnotationSet* set : sets) {
        check(has_masks(*set), ErrorKind::kUsage, "{} has no masks; --box-only compares boxes alone", set->name);
      }
    }
    score_coco(run, truth, predictions, metrics);
  }

  static void score_corloc(const Run& run, const io::AnnotationSet& truth, const io::AnnotationSet& predictions,
                           Json& metrics) {
    const eval::CorLocResult result = eval::evaluate_corloc(truth, predictions);
    run.note("CorLoc {:.1f} ({} of {} images)", 100 * result.corloc, result.right, result.images);
    if (result.without_prediction > 0) {
      run.note("{} images have no prediction and count as wrong", result.without_prediction);
    }
    if (result.without_truth > 0) run.note("{} images have no truth and were left out", result.without_truth);
    metrics["corloc"] = {{"CorLoc", result.corloc},
                         {"right", result.right},
                         {"images", result.images},
                         {"without_prediction", result.without_prediction},
                         {"without_truth", result.without_truth}};
  }

  static void fill_scores(const Run& run, io::AnnotationSet& predictions) {
    std::int64_t filled = 0;
    for (io::CocoAnnotation& annotation : predictions.annotations) {
      if (annotation.has_score) continue;
      annotation.score = 1;
      annotation.has_score = true;
      ++filled;
    }
    if (filled > 0) run.note("{}: {} masks have no score and count with 1", predictions.name, filled);
  }

  void score_coco(const Run& run, const io::AnnotationSet& truth, const io::AnnotationSet& predictions, Json& metrics) {
    eval::CocoEvalOptions options;
    options.class_agnostic = class_agnostic_ || pseudo_masks_;
    options.max_dets = max_det_list_;
    options.curves = !curves_.empty();
    std::map<std::string, Tensor> curves;
    Json categories = Json::array();
    std::int64_t unknown_category = 0;
    for (const eval::IouType type : types_) {
      const std::string name = name_of(type);
      const eval::CocoEvalResult result = eval::evaluate_coco(truth, predictions, type, options);
      run.note("{:<5}{}", name, to_line(result.metrics));
      metrics[name] = to_json(result.metrics);
      for (std::size_t c = 0; c < result.categories.size(); ++c) {
        const auto& category = result.categories[c];
        if (categories.size() <= c) categories.push_back({{"id", category.id}, {"name", category.name}});
        categories[c]["truths"] = category.truths;
        categories[c]["detections"] = category.detections;
        categories[c][name] = to_json(category.metrics);
        if (!options.class_agnostic) run.detail("{:<5}{:<20} {}", name, category.name, to_line(category.metrics));
      }
      if (options.curves) {
        curves[name + ".precision"] = result.precision;
        curves[name + ".recall"] = result.recall;
        curves[name + ".scores"] = result.scores;
      }
      unknown_category = result.unknown_category;
    }
    if (unknown_category > 0) {
      run.warn("{} predictions have categories that {} lacks, and were left out", unknown_category, truth.name);
    }
    metrics["per_category"] = std::move(categories);
    metrics["left_out"] = {{"predictions_of_unknown_categories", unknown_category}};
    if (!options.curves) return;
    make_folder_of(curves_);
    io::save_safetensors(curves_, curves, {{"info", R"({"description":"usol eval"})"}});
  }

  std::string truth_path_, predictions_path_, out_, curves_, image_root_;
  bool exif_ = true;
  std::string iou_ = "box,mask", max_dets_ = "1,10,100", match_ = "id";
  PictureOptions pictures_;
  bool box_only_ = false, class_agnostic_ = false, pseudo_masks_ = false, corloc_ = false, saliency_ = false;
  std::vector<int> max_det_list_;
  std::vector<eval::IouType> types_;
};

const RegisterVerb<EvalVerb> kEval("eval", "average precision, CorLoc or saliency metrics of predictions");

}  // namespace
}  // namespace usol::cli
