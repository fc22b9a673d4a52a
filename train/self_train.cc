#include "usol/train/self_train.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <unordered_map>
#include <utility>

#include "usol/tensor/check.h"

namespace usol::train {
namespace {

using Positions = std::vector<const CocoAnnotation*>;

// The annotations of each picture; pictures in the order in which they first appear.
struct ByPicture {
  std::vector<std::int64_t> order;
  std::unordered_map<std::int64_t, Positions> of;

  void add(const CocoAnnotation& annotation) {
    Positions& positions = of[annotation.image_id];
    if (positions.empty()) order.push_back(annotation.image_id);
    positions.push_back(&annotation);
  }
  const Positions* find(std::int64_t image) const {
    const auto found = of.find(image);
    return found == of.end() ? nullptr : &found->second;
  }
};

// Run lengths keep their own size; polygons take that of the picture.
Rle mask_of(const AnnotationSet& set, const CocoAnnotation& annotation, const CocoImage& image) {
  const Segmentation& own = annotation.segmentation;
  const bool runs = own.kind == Segmentation::Kind::kRle;
  return set.rle(annotation, runs ? own.height : image.height, runs ? own.width : image.width);
}

std::vector<Rle> masks_of(const AnnotationSet& set, const Positions& annotations, const CocoImage& image) {
  std::vector<Rle> masks;
  for (const CocoAnnotation* annotation : annotations) masks.push_back(mask_of(set, *annotation, image));
  return masks;
}

bool one_size(const std::vector<Rle>& a, const std::vector<Rle>& b) {
  const auto other = [&](const Rle& mask) { return mask.height != a[0].height || mask.width != a[0].width; };
  return std::none_of(a.begin(), a.end(), other) && std::none_of(b.begin(), b.end(), other);
}

class Round {
 public:
  Round(const AnnotationSet& previous, const AnnotationSet& predictions, const RoundOptions& options)
      : previous_(previous), predictions_(predictions), options_(options), images_(index_images(previous)) {
    const IdIndex categories = index_categories(previous);
    for (const CocoAnnotation& found : predictions.annotations) {
      check(found.has_score, ErrorKind::kFormat, "{}: expected a score, got none", predictions.place(found));
      if (!(found.score >= options.score)) {
        ++result_.below_score;
        continue;
      }
      check(images_.find(found.image_id) >= 0, ErrorKind::kFormat, "{}: image {} is not in {}",
            predictions.place(found), found.image_id, previous.name);
      check(categories.find(found.category_id) >= 0, ErrorKind::kFormat, "{}: category {} is not in {}",
            predictions.place(found), found.category_id, previous.name);
      if (!dropped(predictions, found)) found_.add(found);
    }
    for (const CocoAnnotation& old : previous.annotations)
      if (!dropped(previous, old)) old_.add(old);
  }

  RoundResult run() {
    for (const std::int64_t image : old_.order) add_picture(image);
    for (const std::int64_t image : found_.order)
      if (old_.find(image) == nullptr) keep(predictions_, *found_.find(image), result_.predicted);
    return std::move(result_);
  }

 private:
  const CocoImage& image_of(std::int64_t id) const {
    return previous_.images[static_cast<std::size_t>(images_.find(id))];
  }

  // An empty mask teaches nothing.
  bool dropped(const AnnotationSet& set, const CocoAnnotation& annotation) const {
    if (options_.preset == RoundPreset::kRelease) return false;
    return rle_area(mask_of(set, annotation, image_of(annotation.image_id))) == 0;
  }

  void keep(const AnnotationSet& set, const Positions& annotations, std::int64_t& count) {
    for (const CocoAnnotation* annotation : annotations)
      result_.objects.push_back({&set, annotation, &image_of(annotation->image_id)});
    count += static_cast<std::int64_t>(annotations.size());
  }

  void add_picture(std::int64_t id) {
    const Positions& old = *old_.find(id);
    const Positions* found = found_.find(id);
    if (found == nullptr) return keep(previous_, old, result_.previous);
    const CocoImage& image = image_of(id);
    const std::vector<Rle> old_masks = masks_of(previous_, old, image);
    const std::vector<Rle> found_masks = masks_of(predictions_, *found, image);
    if (!one_size(old_masks, found_masks)) {
      check(options_.preset == RoundPreset::kRelease, ErrorKind::kFormat,
            "{}: its mask and those of image {} in {} differ in size ({} x {}, {} x {}): was one of them made "
            "without turning pictures as their EXIF says?",
            predictions_.place(*found->front()), id, previous_.name, found_masks[0].height, found_masks[0].width,
            old_masks[0].height, old_masks[0].width);
      ++result_.differing_sizes;
      return keep(previous_, old, result_.previous);
    }
    const std::vector<double> iou = rle_iou(old_masks, found_masks);
    Positions surviving;
    for (std::size_t i = 0; i < old.size(); ++i) {
      const std::span<const double> row(iou.data() + i * found->size(), found->size());
      const bool stays = std::all_of(row.begin(), row.end(), [&](double v) { return v < options_.iou; });
      if (stays && !undefined(old_masks[i], found_masks)) surviving.push_back(old[i]);
    }
    result_.found_again += static_cast<std::int64_t>(old.size() - surviving.size());
    keep(predictions_, *found, result_.predicted);
    keep(previous_, surviving, result_.previous);
  }

  // The script compares 0/0 with 0.5, which is false, so an empty mask goes where a prediction is empty too.
  static bool undefined(const Rle& mask, const std::vector<Rle>& found) {
    const auto empty = [](const Rle& m) { return rle_area(m) == 0; };
    return empty(mask) && std::any_of(found.begin(), found.end(), empty);
  }

  const AnnotationSet& previous_;
  const AnnotationSet& predictions_;
  RoundOptions options_;
  IdIndex images_;
  ByPicture found_, old_;
  RoundResult result_;
};

}  // namespace

RoundResult next_round(const AnnotationSet& previous, const AnnotationSet& predictions, const RoundOptions& options) {
  return Round(previous, predictions, options).run();
}

std::vector<CocoImage> round_images(const AnnotationSet& previous, const RoundResult& result) {
  std::vector<CocoImage> images = previous.images;
  for (const RoundObject& object : result.objects) {
    const Segmentation& mask = object.annotation->segmentation;
    if (mask.kind != Segmentation::Kind::kRle) continue;  // a polygon has no sides of its own
    CocoImage& image = images[static_cast<std::size_t>(object.image - previous.images.data())];
    image.height = mask.height;
    image.width = mask.width;
  }
  return images;
}

std::string round_record(const RoundObject& object, std::int64_t id, RoundPreset preset) {
  const Rle mask = mask_of(*object.set, *object.annotation, *object.image);
  CocoAnnotation annotation = *object.annotation;
  annotation.id = id;
  if (preset == RoundPreset::kPaper) {
    annotation.area = static_cast<double>(rle_area(mask));
    return coco_annotation_json(annotation, mask);
  }
  annotation.is_crowd = false;
  annotation.area = annotation.box[2] * annotation.box[3];
  auto record = nlohmann::ordered_json::parse(coco_annotation_json(annotation, mask));
  std::swap(record["width"], record["height"]);
  return record.dump();
}

}  // namespace usol::train
