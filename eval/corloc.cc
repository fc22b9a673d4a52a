// CorLoc needs one pass over the predictions for the best of each image, and one over the truths. Constant boxes are
// all tried, but each truth meets only those whose two sides both fit it well enough for an IoU of 0.5.
#include "usol/eval/corloc.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "usol/tensor/check.h"

namespace usol::eval {

namespace {

io::Box box_of(const io::AnnotationSet& set, const io::CocoAnnotation& annotation) {
  if (annotation.has_box) return annotation.box;
  const io::Segmentation& mask = annotation.segmentation;
  check(mask.kind == io::Segmentation::Kind::kRle, ErrorKind::kFormat, "{}: expected a bbox or an RLE, got neither",
        set.place(annotation));
  return io::rle_to_box(set.rle(annotation, mask.height, mask.width));
}

// Edges of constant boxes lie at multiples of 1 / kSteps.
constexpr int kSteps = 20;
constexpr double kRight = 0.5;

// A side of a box: where it begins and ends, in fractions of the image's.
struct Side {
  double begin = 0, end = 0;
  double length() const { return end - begin; }
};

double overlap(const Side& a, const Side& b) { return std::min(a.end, b.end) - std::max(a.begin, b.begin); }

std::vector<Side> constant_sides() {
  std::vector<Side> sides;
  for (int begin = 0; begin < kSteps; ++begin)
    for (int end = begin + 1; end <= kSteps; ++end)
      sides.push_back({begin / static_cast<double>(kSteps), end / static_cast<double>(kSteps)});
  return sides;
}

// The constant sides that may belong to a box of IoU >= kRight with one that has `side`: the IoU of boxes is at most
// that of their sides.
std::vector<std::size_t> near(const std::vector<Side>& sides, const Side& side) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < sides.size(); ++i) {
    const double common = overlap(sides[i], side);
    if (common >= kRight * (sides[i].length() + side.length() - common) * (1 - 1e-9)) found.push_back(i);
  }
  return found;
}

// Counts the images of each constant box.
class ConstantBoxes {
 public:
  ConstantBoxes() : counts_(sides_.size() * sides_.size()), last_(counts_.size(), -1) {}

  // Truths of one image must come one after the other.
  void add(std::int64_t image, const Side& across, const Side& down) {
    const std::vector<std::size_t> rows = near(sides_, down);
    for (const std::size_t x : near(sides_, across))
      for (const std::size_t y : rows) {
        const std::size_t at = x * sides_.size() + y;
        if (last_[at] == image) continue;
        const double common = overlap(sides_[x], across) * overlap(sides_[y], down);
        const double both = sides_[x].length() * sides_[y].length() + across.length() * down.length() - common;
        // Edges of truths often lie at such fractions themselves: an IoU of just 0.5 is not lost to rounding.
        if (common < kRight * both * (1 - 1e-9)) continue;
        last_[at] = image;
        ++counts_[at];
      }
  }

  ConstantBox best() const {
    return box(static_cast<std::size_t>(std::max_element(counts_.begin(), counts_.end()) - counts_.begin()));
  }
  ConstantBox whole_frame() const {
    constexpr std::size_t kWhole = kSteps - 1;  // the first that ends at 1: it begins at 0
    return box(kWhole * sides_.size() + kWhole);
  }

 private:
  ConstantBox box(std::size_t at) const {
    const Side &x = sides_[at / sides_.size()], &y = sides_[at % sides_.size()];
    return {{x.begin, y.begin, x.length(), y.length()}, counts_[at]};
  }

  const std::vector<Side> sides_ = constant_sides();
  std::vector<std::int64_t> counts_, last_;  // last_: the image counted last
};

// `objects`: the indices of the truths that count, by image.
void add_constant_boxes(const io::AnnotationSet& truth, const std::vector<std::vector<std::size_t>>& objects,
                        CorLocResult& result) {
  ConstantBoxes boxes;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (objects[i].empty()) continue;
    const io::CocoImage& image = truth.images[i];
    if (image.height <= 0 || image.width <= 0) {
      ++result.without_size;
      continue;
    }
    const double width = static_cast<double>(image.width), height = static_cast<double>(image.height);
    for (const std::size_t object : objects[i]) {
      const io::Box& box = truth.annotations[object].box;
      boxes.add(static_cast<std::int64_t>(i), {box[0] / width, (box[0] + box[2]) / width},
                {box[1] / height, (box[1] + box[3]) / height});
    }
  }
  if (result.images == 0 || result.without_size > 0) return;
  result.constant_box = boxes.best();
  result.whole_frame = boxes.whole_frame();
}

}  // namespace

double corloc_of(const ConstantBox& constant, const CorLocResult& result) {
  return result.images > 0 ? static_cast<double>(constant.right) / static_cast<double>(result.images) : -1;
}

CorLocResult evaluate_corloc(const io::AnnotationSet& truth, const io::AnnotationSet& predictions) {
  const io::IdIndex images = io::index_images(truth);
  std::vector<const io::CocoAnnotation*> best(truth.images.size(), nullptr);
  for (const io::CocoAnnotation& prediction : predictions.annotations) {
    const std::int64_t image = images.find(prediction.image_id);
    check(
        image >= 0, ErrorKind::kFormat,
        "{}.image_id: {} is no image of {}; if the two files number their images differently, match them by file name",
        predictions.place(prediction), prediction.image_id, truth.name);
    auto& current = best[static_cast<std::size_t>(image)];
    if (current == nullptr || (prediction.has_score && current->has_score && prediction.score > current->score)) {
      current = &prediction;
    }
  }
  std::vector<io::Box> boxes(best.size());
  for (std::size_t i = 0; i < best.size(); ++i) {
    if (best[i] != nullptr) boxes[i] = box_of(predictions, *best[i]);
  }

  std::vector<std::uint8_t> right(best.size());
  std::vector<std::vector<std::size_t>> objects(best.size());
  for (std::size_t i = 0; i < truth.annotations.size(); ++i) {
    const io::CocoAnnotation& object = truth.annotations[i];
    if (object.is_crowd) continue;
    check(object.has_box, ErrorKind::kFormat, "{}.bbox: missing", truth.place(object));
    const std::int64_t found = images.find(object.image_id);
    check(found >= 0, ErrorKind::kFormat, "{}.image_id: expected the id of an image, got {}", truth.place(object),
          object.image_id);
    const auto image = static_cast<std::size_t>(found);
    objects[image].push_back(i);
    if (best[image] != nullptr && io::box_iou({&boxes[image], 1}, {&object.box, 1})[0] >= kRight) right[image] = 1;
  }

  CorLocResult result;
  for (std::size_t i = 0; i < best.size(); ++i) {
    if (objects[i].empty()) {
      ++result.without_truth;
      continue;
    }
    ++result.images;
    result.right += right[i];
    result.without_prediction += best[i] == nullptr;
  }
  if (result.images > 0) result.corloc = static_cast<double>(result.right) / static_cast<double>(result.images);
  add_constant_boxes(truth, objects, result);
  return result;
}

}  // namespace usol::eval
