#include "usol/pipeline/train_eval.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <utility>
#include <vector>

#include "usol/eval/coco_eval.h"
#include "usol/io/has_masks.h"
#include "usol/io/image.h"
#include "usol/io/picture_path.h"
#include "usol/ops/rank_values.h"
#include "usol/pipeline/detect.h"
#include "usol/pipeline/read_ahead.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

constexpr std::size_t kShare = 4;  // pictures of a rank between two exchanges

struct Loaded {
  Tensor picture, resized;  // undefined if the picture cannot be read
};

constexpr std::int64_t kUnreadable = -1;  // the label of what stands for a picture that cannot be read

// An object of the truth's picture number `image`, as numbers that ranks can exchange.
void put(std::vector<double>& numbers, std::size_t image, const FoundObject& object) {
  const io::Rle& mask = object.mask;
  const io::Box& box = object.box;
  for (const double number :
       {static_cast<double>(image), static_cast<double>(object.label), object.score, box[0], box[1], box[2], box[3],
        static_cast<double>(mask.height), static_cast<double>(mask.width), static_cast<double>(mask.counts.size())})
    numbers.push_back(number);
  numbers.insert(numbers.end(), mask.counts.begin(), mask.counts.end());
}

// The next object, and its picture's number.
std::pair<std::size_t, FoundObject> take(const double*& at) {
  const auto image = static_cast<std::size_t>(*at++);
  FoundObject object;
  object.label = static_cast<std::int64_t>(*at++);
  object.score = *at++;
  for (double& side : object.box) side = *at++;
  object.mask.height = static_cast<std::int64_t>(*at++);
  object.mask.width = static_cast<std::int64_t>(*at++);
  const auto runs = static_cast<std::size_t>(*at++);
  object.mask.counts.reserve(runs);
  for (std::size_t i = 0; i < runs; ++i) object.mask.counts.push_back(static_cast<std::uint32_t>(*at++));
  return {image, std::move(object)};
}

}  // namespace

TrainEvaluation::TrainEvaluation(const TrainConfig& settings, std::int64_t classes)
    : settings_(settings),
      masks_(settings.detector.chosen().finds_masks()),
      truth_(io::read_coco(
          settings.eval_annotations,
          {.segmentations = masks_, .image_root = settings.eval_image_root, .apply_exif = settings.pictures.exif})),
      class_agnostic_(classes == 1) {
  // The truth of a detector that learns masks from boxes may be like what it learns from.
  if (!settings.detector.chosen().learns_masks() && !io::has_masks(truth_)) masks_ = false;
  check(!settings.eval_image_root.empty(), ErrorKind::kUsage,
        "eval-image-root is missing: the folder of the evaluation's pictures");
  check(fs::is_directory(settings.eval_image_root), ErrorKind::kUsage, "eval-image-root {}: no such folder",
        settings.eval_image_root);
  for (const io::CocoCategory& category : truth_.categories) categories_.push_back(category.id);
  std::sort(categories_.begin(), categories_.end());
  if (class_agnostic_ && categories_.empty()) categories_.push_back(1);
  check(class_agnostic_ || static_cast<std::int64_t>(categories_.size()) == classes, ErrorKind::kUsage,
        "eval-annotations {}: {} categories, but the training has {}", truth_.name, categories_.size(), classes);
  for (const eval::IouType type : types()) eval::check_truth(truth_, type, {.class_agnostic = class_agnostic_});
}

std::vector<eval::IouType> TrainEvaluation::types() const {
  if (masks_) return {eval::IouType::kBox, eval::IouType::kMask};
  return {eval::IouType::kBox};
}

train::PictureReport TrainEvaluation::check_pictures(const std::function<bool()>& stop) const {
  const auto expected = [&](std::int64_t i) -> train::ExpectedPicture {
    const io::CocoImage& image = truth_.images[static_cast<std::size_t>(i)];
    return {io::picture_path(settings_.eval_image_root, image.file_name), {image.height, image.width}};
  };
  return train::check_pictures(static_cast<std::int64_t>(truth_.images.size()), expected, settings_.pictures.decode(),
                               stop);
}

std::optional<TrainEvaluation::Scores> TrainEvaluation::run(const Detector& model, const std::function<bool()>& stop,
                                                            Communicator* ranks) const {
  io::AnnotationSet found;
  found.name = "predictions";
  found.is_results = true;
  // Detectron2's threshold where there are classes; all detections where there is one, as CutLER evaluates.
  const detection::DetectOptions options{.score = class_agnostic_ ? 0 : 0.05};
  const auto rank = static_cast<std::size_t>(ranks ? ranks->rank() : 0);
  const auto size = static_cast<std::size_t>(ranks ? ranks->size() : 1);
  const std::size_t total = truth_.images.size(), share = ranks ? kShare : 1;
  const auto is_own = [&](std::size_t image) { return image / share % size == rank; };
  Scores scores;
  std::size_t next = 0;
  ReadAhead<Loaded> pictures(
      [&]() -> std::optional<Loaded> {
        while (next < total && !is_own(next)) ++next;
        if (next == total) return std::nullopt;
        const fs::path path = io::picture_path(settings_.eval_image_root, truth_.images[next++].file_name);
        Loaded loaded;
        try {
          loaded.picture = io::decode_image(path, settings_.pictures.decode());
        } catch (const Error&) {
          return loaded;
        }
        loaded.resized = resized_for_network(loaded.picture, settings_.eval_short_side, settings_.augment.long_side);
        return loaded;
      },
      2);
  for (std::size_t first = 0; first < total; first += share * size) {
    if (stop()) return std::nullopt;
    std::vector<double> numbers;
    for (std::size_t image = first; image < std::min(first + share * size, total); ++image) {
      if (!is_own(image)) continue;
      const Loaded loaded = *pictures.next();
      if (!loaded.picture.defined()) {
        FoundObject unreadable;
        unreadable.label = kUnreadable;
        put(numbers, image, unreadable);
        continue;
      }
      for (const FoundObject& object : find_objects(model, loaded.picture, loaded.resized, options))
        put(numbers, image, object);
    }
    numbers = gather_values(numbers, ranks);
    if (rank > 0) continue;
    for (const double* at = numbers.data(); at != numbers.data() + numbers.size();) {
      const auto [image, object] = take(at);
      if (object.label == kUnreadable) {
        scores.unreadable.push_back(
            io::picture_path(settings_.eval_image_root, truth_.images[image].file_name).string());
        continue;
      }
      io::CocoAnnotation annotation =
          object.annotation(truth_.images[image].id, categories_[static_cast<std::size_t>(object.label)]);
      if (masks_) annotation.segmentation = found.add(object.mask);
      found.annotations.push_back(std::move(annotation));
    }
  }
  if (rank > 0) return scores;
  for (const eval::IouType type : types()) {
    const std::string prefix = type == eval::IouType::kBox ? "bbox/" : "segm/";
    const eval::CocoEvalResult result = eval::evaluate_coco(truth_, found, type, {.class_agnostic = class_agnostic_});
    for (const auto& [name, value] : result.metrics)
      if (value >= 0) scores.percentages[prefix + name] = 100 * value;
  }
  return scores;
}

}  // namespace usol
