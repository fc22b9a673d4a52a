#include "usol/pipeline/evaluate.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>

#include "usol/eval/match_images.h"
#include "usol/eval/saliency_files.h"
#include "usol/io/atomic_file.h"
#include "usol/io/coco.h"
#include "usol/io/has_masks.h"
#include "usol/io/json_text.h"
#include "usol/io/safetensors.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

// Of maps and masks in folders.
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
          ErrorKind::kUsage, "max-dets: expected ascending numbers above 0, as 1,10,100, got '{}'", text);
    numbers.push_back(number);
  }
  return numbers;
}

std::vector<eval::IouType> to_iou_types(const std::string& text) {
  std::vector<eval::IouType> types;
  for (const std::string& part : split(text)) {
    check(part == "box" || part == "mask", ErrorKind::kUsage, "iou: expected box, mask or box,mask, got '{}'", text);
    const eval::IouType type = part == "box" ? eval::IouType::kBox : eval::IouType::kMask;
    check(types.empty() || types.back() != type, ErrorKind::kUsage, "iou: {} twice", part);
    types.push_back(type);
  }
  return types;
}

const char* name_of(eval::IouType type) { return type == eval::IouType::kBox ? "box" : "mask"; }

// "AP 12.5  AP50 22.4": percentages for people.
std::string to_line(const eval::Metrics& metrics) {
  std::string line;
  for (const auto& [name, value] : metrics) {
    if (!line.empty()) line += "  ";
    line += value < 0 ? fmt::format("{} -", name) : fmt::format("{} {:.1f}", name, 100 * value);
  }
  return line;
}

// What can be said before any file is read.
void check_config(const EvaluateConfig& config) {
  check(!(config.corloc && config.saliency), ErrorKind::kUsage, "corloc and saliency exclude each other");
  check(config.voc == "off" ||
            !(config.corloc || config.saliency || config.class_agnostic || config.assign || config.curves),
        ErrorKind::kUsage, "voc compares categories, and has no curves; leave out what is for other metrics");
  check(!config.assign || !(config.corloc || config.saliency || config.class_agnostic || config.pseudo_masks),
        ErrorKind::kUsage, "assign is for metrics that compare categories");
  check(!config.curves || !(config.corloc || config.saliency), ErrorKind::kUsage,
        "curves are of average precision; corloc and saliency have none");
  to_max_dets(config.max_dets);
  to_iou_types(config.iou);
  for (const std::string& path : {config.truth, config.predictions})
    check(fs::exists(path), ErrorKind::kUsage, "{}: no such file", path);
  check(config.image_root.empty() || fs::is_directory(config.image_root), ErrorKind::kUsage,
        "image-root {}: no such folder", config.image_root);
}

// Objects, but not one mask.
bool has_boxes_alone(const io::AnnotationSet& set) { return !set.annotations.empty() && !io::has_masks(set); }

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
          "the picture turned as its EXIF orientation says, the other as it is stored; make the predictions with the "
          "setting exif that the truth was made with",
          predictions.place(annotation), mask.height, mask.width, truth.name, image.height, image.width);
  }
}

void fill_scores(const Run& run, io::AnnotationSet& predictions) {
  std::int64_t filled = 0;
  for (io::CocoAnnotation& annotation : predictions.annotations) {
    if (annotation.has_score) continue;
    annotation.score = 1;
    annotation.has_score = true;
    ++filled;
  }
  if (filled > 0) run.note("{}: {} masks have no score and count with 1", predictions.name, filled);
}

eval::CorLocResult score_corloc(const Run& run, const io::AnnotationSet& truth, const io::AnnotationSet& predictions) {
  const eval::CorLocResult result = eval::evaluate_corloc(truth, predictions);
  run.note("CorLoc {:.1f} ({} of {} images)", 100 * result.corloc, result.right, result.images);
  if (result.constant_box) {
    const io::Box& box = result.constant_box->box;
    run.note(
        "  constant box {:.1f} (the best with edges at twentieths, fitted to this truth: x {:.2f} to {:.2f}, y {:.2f} "
        "to {:.2f})",
        100 * eval::corloc_of(*result.constant_box, result), box[0], box[0] + box[2], box[1], box[1] + box[3]);
    run.note("  whole frame {:.1f}", 100 * eval::corloc_of(*result.whole_frame, result));
  }
  if (result.without_size > 0)
    run.note("{} images have no height and width in {}, which constant boxes need: there is none to compare with",
             result.without_size, truth.name);
  if (result.without_prediction > 0)
    run.note("{} images have no prediction and count as wrong", result.without_prediction);
  if (result.without_truth > 0) run.note("{} images have no truth and were left out", result.without_truth);
  return result;
}

// The box as fractions of the image's sides.
Json constant_box_json(const eval::ConstantBox& constant, const eval::CorLocResult& result) {
  return {{"CorLoc", eval::corloc_of(constant, result)}, {"right", constant.right}, {"box", constant.box}};
}

eval::CocoEvalResult score_type(const Run& run, const io::AnnotationSet& truth, const io::AnnotationSet& predictions,
                                eval::IouType type, const eval::CocoEvalOptions& options) {
  eval::CocoEvalResult result = eval::evaluate_coco(truth, predictions, type, options);
  run.note("{:<5}{}", name_of(type), to_line(result.metrics));
  if (options.class_agnostic) return result;
  for (const eval::CocoEvalResult::Category& category : result.categories)
    run.detail("{:<5}{:<20} {}", name_of(type), category.name, to_line(category.metrics));
  return result;
}

eval::VocEvalResult score_voc(const Run& run, const io::AnnotationSet& truth, const io::AnnotationSet& predictions,
                              bool groups) {
  const eval::VocEvalResult result =
      eval::evaluate_voc(truth, predictions, groups ? eval::VocGroups::kAreAssigned : eval::VocGroups::kAreCategories);
  run.note("VOC  {}", to_line(result.metrics));
  for (const eval::VocEvalResult::Category& category : result.categories)
    run.detail("VOC  {:<20} {}{}", category.name, to_line(category.metrics),
               !groups          ? ""
               : category.group ? fmt::format("  group {}", *category.group)
                                : "  no group");
  if (result.unknown_category > 0)
    run.warn("{} predictions are of {} and were left out", result.unknown_category,
             groups ? "groups without a category" : "categories that the truth lacks");
  return result;
}

// The predictions get the categories that their groups are taken for.
eval::GroupAssignment assign(const Run& run, const io::AnnotationSet& truth, io::AnnotationSet& predictions,
                             eval::IouType type) {
  eval::GroupAssignment assignment = eval::assign_groups(truth, predictions, type);
  const std::int64_t left_out = eval::take_categories(predictions, assignment);
  const auto assigned = std::count_if(assignment.groups.begin(), assignment.groups.end(),
                                      [](const auto& group) { return group.category.has_value(); });
  run.note("{} groups, {} assigned to categories by {} objects that match: {}", assignment.groups.size(), assigned,
           assignment.agreement.objects, to_line(assignment.agreement.metrics()));
  for (const eval::GroupAssignment::Group& group : assignment.groups)
    run.detail("{} {}: {} objects match; {}", group.id, group.name, group.matched,
               group.category ? fmt::format("taken for {}, {} of them right", group.category_name, group.right)
                              : "no category");
  if (left_out > 0) run.note("{} predictions are of groups without a category, and were left out", left_out);
  return assignment;
}

void score_annotations(const Run& run, const EvaluateConfig& config, Evaluation& evaluation) {
  std::vector<eval::IouType> types = to_iou_types(config.box_only ? "box" : config.iou);
  bool masks = !config.corloc && config.voc == "off" && (types.size() > 1 || types[0] == eval::IouType::kMask);
  const io::CocoReadOptions reading{.segmentations = masks, .image_root = config.image_root, .apply_exif = config.exif};
  const io::AnnotationSet truth = io::read_coco(config.truth, reading);
  io::AnnotationSet predictions = io::read_coco(config.predictions, reading);
  for (const io::AnnotationSet* set : {&truth, static_cast<const io::AnnotationSet*>(&predictions)})
    say_reading(run, *set);
  eval::match_images(truth, predictions, {config.match, config.ids_are_certain});
  check_sides(truth, predictions);
  if (config.corloc) {
    evaluation.corloc = score_corloc(run, truth, predictions);
    return;
  }
  if (config.pseudo_masks || config.assign) fill_scores(run, predictions);
  if (config.voc != "off") {
    evaluation.voc = score_voc(run, truth, predictions, config.voc == "groups");
    return;
  }
  if (types.size() > 1 && has_boxes_alone(truth)) {
    run.note("{} has no masks: boxes alone are compared", truth.name);
    types = {eval::IouType::kBox};
    masks = false;
  }
  for (const io::AnnotationSet* set : {&truth, static_cast<const io::AnnotationSet*>(&predictions)})
    check(!masks || !has_boxes_alone(*set), ErrorKind::kUsage, "{} has no masks; box-only compares boxes alone",
          set->name);
  if (config.assign) evaluation.assignment = assign(run, truth, predictions, types.back());
  eval::CocoEvalOptions options;
  options.class_agnostic = config.class_agnostic || config.pseudo_masks;
  options.max_dets = to_max_dets(config.max_dets);
  options.curves = config.curves;
  for (const eval::IouType type : types)
    evaluation.coco.emplace_back(type, score_type(run, truth, predictions, type, options));
  if (const std::int64_t unknown = evaluation.coco.back().second.unknown_category; unknown > 0)
    run.warn("{} predictions have categories that {} lacks, and were left out", unknown, truth.name);
}

void score_saliency(const Run& run, const EvaluateConfig& config, Evaluation& evaluation) {
  const auto report = config.pictures.report_at_end(run);
  eval::SaliencyFilesOptions options;
  options.reading = {.image_root = config.image_root, .apply_exif = config.exif};
  options.matching = {config.match, config.ids_are_certain};
  options.on_read = [&](const io::AnnotationSet& set) { say_reading(run, set); };
  options.decode = config.pictures.decode();
  options.decode.apply_exif = config.exif;
  options.on_left_out = [&](const std::vector<fs::path>& paths) {
    say_left_out(run, paths);
    evaluation.left_out.insert(evaluation.left_out.end(), paths.begin(), paths.end());
  };
  const eval::SaliencyMean mean = eval::score_saliency_files(config.truth, config.predictions, options);
  run.note("saliency over {} images: {}", mean.images(), to_line(mean.metrics()));
  evaluation.saliency = mean;
}

void write_curves(const std::string& path, const Evaluation& evaluation) {
  std::map<std::string, Tensor> curves;
  for (const auto& [type, result] : evaluation.coco) {
    const std::string name = name_of(type);
    curves[name + ".precision"] = result.precision;
    curves[name + ".recall"] = result.recall;
    curves[name + ".scores"] = result.scores;
  }
  make_folder_of(path);
  io::save_safetensors(path, curves, {{"info", R"({"description":"usol eval"})"}});
}

}  // namespace

void EvaluateConfig::declare(Settings& settings) {
  settings.group("Files");
  settings.add("gt FILE", truth, "The truth: COCO JSON (for saliency also a folder of masks)", OptionKind::kRun);
  settings.add("pred FILE", predictions,
               "Predictions: a list of results or COCO JSON with scores (for saliency also a folder of maps)",
               OptionKind::kRun);
  settings.add("image-root DIR", image_root, "The pictures, for images whose height and width the truth lacks",
               OptionKind::kRun);
  settings.flag("no-exif", exif, "Those heights and widths: without turning as cameras note it in their files");
  settings.group("What is compared");
  settings.add("iou TYPES", iou, "box, mask, or box,mask (boxes alone if the truth has no masks)");
  settings.flag("box-only", box_only, "Boxes alone: the same as iou box");
  settings.flag("class-agnostic", class_agnostic, "One class for everything");
  settings.flag("pseudo-masks", pseudo_masks,
                "Predictions are MaskCut's: class-agnostic, with its own scores (1 where it gave none)");
  settings.flag(
      "assign", assign,
      "The predictions' categories are groups without names: assign the truth's categories to them, so that as "
      "many objects as possible (IoU >= 0.5) are right, and say purity, NMI and accuracy");
  settings.add("max-dets LIST", max_dets, "Detections per image that count; AP uses the last");
  settings.choice("match", match, {"id", "file_name"}, "How images of the two files belong together");
  settings.group("Other metrics");
  settings.choice(
      "voc", voc, {"off", "categories", "groups"},
      "VOC's average precision of boxes (the area below the curve). groups: the predictions' categories are "
      "groups without names, which are assigned to the truth's categories so that the mean AP50 is largest, "
      "as LOST's detectors are scored");
  settings.flag(
      "corloc", corloc,
      "Share of images whose best box has IoU >= 0.5 with any truth; beside it that of the best constant box and "
      "of the whole frame");
  settings.flag("saliency", saliency,
                "IoU, accuracy and maximal F-beta of foreground maps (PNG 0..255, .npy 0..1, or all masks of a COCO "
                "file) against masks (nonzero is foreground)");
  pictures.declare(settings, false);
}

void EvaluateOutputs::declare(Settings& settings) {
  settings.group("Output");
  settings.add("out FILE", metrics, "The metrics, as JSON", OptionKind::kRun);
  settings.add("curves FILE", curves,
               "Also write precision [T, R, K, A, M], recall [T, K, A, M] and scores, as safetensors",
               OptionKind::kRun);
}

namespace {

Json assignment_json(const eval::GroupAssignment& assignment) {
  Json json = eval::metrics_json(assignment.agreement.metrics());
  json["objects"] = assignment.agreement.objects;
  Json& groups = json["groups"] = Json::array();
  for (const eval::GroupAssignment::Group& group : assignment.groups)
    groups.push_back({{"id", group.id},
                      {"name", group.name},
                      {"category_id", group.category ? Json(*group.category) : Json()},
                      {"category", group.category_name},
                      {"matched", group.matched},
                      {"right", group.right}});
  return json;
}

}  // namespace

Json Evaluation::json() const {
  Json metrics = Json::object();
  if (saliency) {
    metrics["saliency"] = eval::metrics_json(saliency->metrics());
    metrics["saliency"]["images"] = saliency->images();
    return metrics;
  }
  if (voc) {
    metrics["voc"] = eval::metrics_json(voc->metrics);
    metrics["per_category"] = Json::array();
    for (const eval::VocEvalResult::Category& category : voc->categories)
      metrics["per_category"].push_back({{"id", category.id},
                                         {"name", category.name},
                                         {"truths", category.truths},
                                         {"group", category.group ? Json(*category.group) : Json()},
                                         {"voc", eval::metrics_json(category.metrics)}});
    metrics["left_out"] = {{"predictions_of_unknown_categories", voc->unknown_category}};
    return metrics;
  }
  if (corloc) {
    metrics["corloc"] = {{"CorLoc", corloc->corloc},
                         {"right", corloc->right},
                         {"images", corloc->images},
                         {"without_prediction", corloc->without_prediction},
                         {"without_truth", corloc->without_truth}};
    if (corloc->constant_box) {
      metrics["corloc"]["constant_box"] = constant_box_json(*corloc->constant_box, *corloc);
      metrics["corloc"]["constant_box"]["fitted_to"] = "this truth";
      metrics["corloc"]["whole_frame"] = constant_box_json(*corloc->whole_frame, *corloc);
    }
    return metrics;
  }
  Json categories = Json::array();
  for (const auto& [type, result] : coco) {
    metrics[name_of(type)] = eval::metrics_json(result.metrics);
    for (std::size_t c = 0; c < result.categories.size(); ++c) {
      const eval::CocoEvalResult::Category& category = result.categories[c];
      if (categories.size() <= c) categories.push_back({{"id", category.id}, {"name", category.name}});
      categories[c]["truths"] = category.truths;
      categories[c]["detections"] = category.detections;
      categories[c][name_of(type)] = eval::metrics_json(category.metrics);
    }
  }
  if (assignment) metrics["assignment"] = assignment_json(*assignment);
  metrics["per_category"] = std::move(categories);
  metrics["left_out"] = {
      {"predictions_of_unknown_categories", coco.empty() ? std::int64_t{0} : coco.back().second.unknown_category}};
  return metrics;
}

Evaluation evaluate(const Run& run, const EvaluateConfig& config) {
  check_config(config);
  Evaluation evaluation;
  if (config.saliency)
    score_saliency(run, config, evaluation);
  else
    score_annotations(run, config, evaluation);
  return evaluation;
}

int write_evaluation(const Run& run, EvaluateConfig config, const EvaluateOutputs& files) {
  config.curves = !files.curves.empty();
  check_config(config);
  Outputs outputs(run);
  for (const std::string& path : {config.truth, config.predictions}) {
    outputs.reads(path);
    if (config.saliency) outputs.reads_folder(path, kMapExtensions);
  }
  const std::string metrics_file = outputs.file("out", files.metrics);
  const std::string curves_file = config.curves ? outputs.file("curves", files.curves) : "";
  if (run.dry_run) {
    run.note("would score {} against {} and write {}", config.predictions, config.truth, metrics_file);
    return kSuccess;
  }
  const Evaluation evaluation = evaluate(run, config);
  if (config.curves) write_curves(curves_file, evaluation);
  Json metrics = evaluation.json();
  metrics["info"] = make_info(run, settings_json(config, "eval"));
  metrics["info"]["device"] = device_model(Device{});
  make_folder_of(metrics_file);
  io::write_file(metrics_file, io::json_text(metrics, 1) + "\n");
  run.note("wrote {}", metrics_file);
  return evaluation.left_out.empty() ? kSuccess : kSomeInputsFailed;
}

}  // namespace usol
