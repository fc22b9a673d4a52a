#include "usol/train/self_train.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <unordered_map>
#include <utility>

#include "usol/tensor/check.h"

namespace usol::train {
namespace {

using Positions = std::vector<const io::CocoAnnotation*>;

// The annotations of each picture; pictures in the order in which they first appear.
struct ByPicture {
  std::vector<std::int64_t> order;
  std::unordered_map<std::int64_t, Positions> of;

  void add(const io::CocoAnnotation& annotation) {
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
io::Rle mask_of(const io::AnnotationSet& set, const io::CocoAnnotation& annotation, const io::CocoImage& image) {
  const io::Segmentation& own = annotation.segmentation;
  const bool runs = own.kind == io::Segmentation::Kind::kRle;
  return set.rle(annotation, runs ? own.height : image.height, runs ? own.width : image.width);
}

bool has_mask(const io::CocoAnnotation& annotation) {
  return annotation.segmentation.kind != io::Segmentation::Kind::kNone;
}

// Whether each annotation has a mask; else all are compared by their boxes.
bool all_have_masks(const Positions& annotations) {
  return std::all_of(annotations.begin(), annotations.end(), [](const auto* a) { return has_mask(*a); });
}

std::vector<io::Box> boxes_of(const Positions& annotations) {
  std::vector<io::Box> boxes;
  for (const io::CocoAnnotation* annotation : annotations) boxes.push_back(annotation->box);
  return boxes;
}

std::vector<io::Rle> masks_of(const io::AnnotationSet& set, const Positions& annotations, const io::CocoImage& image) {
  std::vector<io::Rle> masks;
  for (const io::CocoAnnotation* annotation : annotations) masks.push_back(mask_of(set, *annotation, image));
  return masks;
}

bool one_size(const std::vector<io::Rle>& a, const std::vector<io::Rle>& b) {
  const auto other = [&](const io::Rle& mask) { return mask.height != a[0].height || mask.width != a[0].width; };
  return std::none_of(a.begin(), a.end(), other) && std::none_of(b.begin(), b.end(), other);
}

class Round {
 public:
  Round(const io::AnnotationSet& previous, const io::AnnotationSet& predictions, const RoundOptions& options)
      : previous_(previous), predictions_(predictions), options_(options), images_(io::index_images(previous)) {
    const io::IdIndex categories = io::index_categories(previous);
    for (const io::CocoAnnotation& found : predictions.annotations) {
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
    for (const io::CocoAnnotation& old : previous.annotations)
      if (!dropped(previous, old)) old_.add(old);
  }

  RoundResult run() {
    for (const std::int64_t image : old_.order) add_picture(image);
    for (const std::int64_t image : found_.order)
      if (old_.find(image) == nullptr) keep(predictions_, *found_.find(image), result_.predicted);
    return std::move(result_);
  }

 private:
  const io::CocoImage& image_of(std::int64_t id) const {
    return previous_.images[static_cast<std::size_t>(images_.find(id))];
  }

  // An empty mask or box teaches nothing.
  bool dropped(const io::AnnotationSet& set, const io::CocoAnnotation& annotation) const {
    check(has_mask(annotation) || annotation.has_box, ErrorKind::kFormat, "{}: it has neither segmentation nor bbox",
          set.place(annotation));
    if (options_.preset == Preset::kRelease) return false;
    if (!has_mask(annotation)) return annotation.box[2] <= 0 || annotation.box[3] <= 0;
    return io::rle_area(mask_of(set, annotation, image_of(annotation.image_id))) == 0;
  }

  void keep(const io::AnnotationSet& set, const Positions& annotations, std::int64_t& count) {
    for (const io::CocoAnnotation* annotation : annotations)
      result_.objects.push_back({&set, annotation, &image_of(annotation->image_id)});
    count += static_cast<std::int64_t>(annotations.size());
  }

  void add_picture(std::int64_t id) {
    const Positions& old = *old_.find(id);
    const Positions* found = found_.find(id);
    if (found == nullptr) return keep(previous_, old, result_.previous);
    if (!all_have_masks(old) || !all_have_masks(*found)) return compare_boxes(old, *found);
    const io::CocoImage& image = image_of(id);
    const std::vector<io::Rle> old_masks = masks_of(previous_, old, image);
    const std::vector<io::Rle> found_masks = masks_of(predictions_, *found, image);
    if (!one_size(old_masks, found_masks)) {
      check(options_.preset == Preset::kRelease, ErrorKind::kFormat,
            "{}: its mask and those of image {} in {} differ in size ({} x {}, {} x {}): was one of them made "
            "without turning pictures as their EXIF says?",
            predictions_.place(*found->front()), id, previous_.name, found_masks[0].height, found_masks[0].width,
            old_masks[0].height, old_masks[0].width);
      ++result_.differing_sizes;
      return keep(previous_, old, result_.previous);
    }
    const std::vector<double> iou = io::rle_iou(old_masks, found_masks);
    Positions surviving;
    for (std::size_t i = 0; i < old.size(); ++i) {
      const std::span<const double> row(iou.data() + i * found->size(), found->size());
      if (stays(row) && !undefined(old_masks[i], found_masks)) surviving.push_back(old[i]);
    }
    result_.found_again += static_cast<std::int64_t>(old.size() - surviving.size());
    keep(predictions_, *found, result_.predicted);
    keep(previous_, surviving, result_.previous);
  }

  // Whether an object of before stays, by its overlaps with what was found.
  bool stays(std::span<const double> overlaps) const {
    return std::all_of(overlaps.begin(), overlaps.end(), [&](double v) { return v < options_.iou; });
  }

  void compare_boxes(const Positions& old, const Positions& found) {
    const std::vector<double> iou = io::box_iou(boxes_of(old), boxes_of(found));
    Positions surviving;
    for (std::size_t i = 0; i < old.size(); ++i) {
      const std::span<const double> row(iou.data() + i * found.size(), found.size());
      if (stays(row)) surviving.push_back(old[i]);
    }
    result_.found_again += static_cast<std::int64_t>(old.size() - surviving.size());
    keep(predictions_, found, result_.predicted);
    keep(previous_, surviving, result_.previous);
  }

  // The script compares 0/0 with 0.5, which is false, so an empty mask goes where a prediction is empty too.
  static bool undefined(const io::Rle& mask, const std::vector<io::Rle>& found) {
    const auto empty = [](const io::Rle& m) { return io::rle_area(m) == 0; };
    return empty(mask) && std::any_of(found.begin(), found.end(), empty);
  }

  const io::AnnotationSet& previous_;
  const io::AnnotationSet& predictions_;
  RoundOptions options_;
  io::IdIndex images_;
  ByPicture found_, old_;
  RoundResult result_;
};

}  // namespace

RoundResult next_round(const io::AnnotationSet& previous, const io::AnnotationSet& predictions,
                       const RoundOptions& options) {
  return Round(previous, predictions, options).run();
}

std::vector<io::CocoImage> round_images(const io::AnnotationSet& previous, const RoundResult& result) {
  std::vector<io::CocoImage> images = previous.images;
  for (const RoundObject& object : result.objects) {
    const io::Segmentation& mask = object.annotation->segmentation;
    if (mask.kind != io::Segmentation::Kind::kRle) continue;  // a polygon has no sides of its own
    io::CocoImage& image = images[static_cast<std::size_t>(object.image - previous.images.data())];
    image.height = mask.height;
    image.width = mask.width;
  }
  return images;
}

std::string round_record(const RoundObject& object, std::int64_t id, Preset preset) {
  const bool masked = has_mask(*object.annotation);
  const io::Rle mask = masked ? mask_of(*object.set, *object.annotation, *object.image) : io::Rle{};
  io::CocoAnnotation annotation = *object.annotation;
  annotation.id = id;
  if (preset == Preset::kPaper) {
    annotation.area = masked ? static_cast<double>(io::rle_area(mask)) : annotation.box[2] * annotation.box[3];
    return io::coco_annotation_json(annotation, mask);
  }
  annotation.is_crowd = false;
  annotation.area = annotation.box[2] * annotation.box[3];
  auto record = nlohmann::ordered_json::parse(io::coco_annotation_json(annotation, mask));
  if (masked) std::swap(record["width"], record["height"]);
  return record.dump();
}

}  // namespace usol::train
