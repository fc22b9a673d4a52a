#include "cli/train_eval.h"

#include <algorithm>
#include <filesystem>
#include <utility>
#include <vector>

#include "cli/detect.h"
#include "cli/read_ahead.h"
#include "eval/coco_eval.h"
#include "io/image.h"
#include "tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

struct Loaded {
  std::int64_t image_id = 0;
  Tensor picture, resized;
};

}  // namespace

TrainEvaluation::TrainEvaluation(const TrainSettings& settings, std::int64_t classes)
    : settings_(settings), truth_(read_coco(settings.eval_annotations)), class_agnostic_(classes == 1) {
  check(fs::is_directory(settings.eval_image_root), ErrorKind::kUsage, "--eval-image-root {}: no such folder",
        settings.eval_image_root);
  for (const CocoCategory& category : truth_.categories) categories_.push_back(category.id);
  std::sort(categories_.begin(), categories_.end());
  if (class_agnostic_ && categories_.empty()) categories_.push_back(1);
  check(class_agnostic_ || static_cast<std::int64_t>(categories_.size()) == classes, ErrorKind::kUsage,
        "--eval-annotations {}: {} categories, but the training has {}", truth_.name, categories_.size(), classes);
}

std::optional<std::map<std::string, double>> TrainEvaluation::run(const Rcnn& model,
                                                                  const std::function<bool()>& stop) const {
  AnnotationSet found;
  found.name = "predictions";
  found.is_results = true;
  // Detectron2's threshold where there are classes; all detections where there is one, as CutLER evaluates.
  const rcnn::DetectOptions options{.score = class_agnostic_ ? 0 : 0.05};
  std::size_t next = 0;
  ReadAhead<Loaded> pictures(
      [&]() -> std::optional<Loaded> {
        if (next == truth_.images.size()) return std::nullopt;
        const CocoImage& image = truth_.images[next++];
        const fs::path path = fs::path(settings_.eval_image_root) / image.file_name;
        Loaded loaded{image.id, decode_image(path, {.apply_exif = settings_.exif}), {}};
        loaded.resized = resized_for_network(loaded.picture, settings_.eval_short_side, settings_.augment.long_side);
        return loaded;
      },
      2);
  while (const auto loaded = pictures.next()) {
    if (stop()) return std::nullopt;
    for (const FoundObject& object : find_objects(model, loaded->picture, loaded->resized, options)) {
      CocoAnnotation annotation =
          object.annotation(loaded->image_id, categories_[static_cast<std::size_t>(object.label)]);
      annotation.segmentation = found.add(object.mask);
      found.annotations.push_back(std::move(annotation));
    }
  }
  std::map<std::string, double> values;
  for (const IouType type : {IouType::kBox, IouType::kMask}) {
    const std::string prefix = type == IouType::kBox ? "bbox/" : "segm/";
    const CocoEvalResult result = evaluate_coco(truth_, found, type, {.class_agnostic = class_agnostic_});
    for (const auto& [name, value] : result.metrics)
      if (value >= 0) values[prefix + name] = 100 * value;
  }
  return values;
}

}  // namespace usol
