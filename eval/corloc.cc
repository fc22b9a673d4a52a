// CorLoc needs one pass over the predictions for the best of each image, and one over the truths.
#include "usol/eval/corloc.h"

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

}  // namespace

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

  std::vector<std::uint8_t> has_truth(best.size()), right(best.size());
  for (const io::CocoAnnotation& object : truth.annotations) {
    if (object.is_crowd) continue;
    check(object.has_box, ErrorKind::kFormat, "{}.bbox: missing", truth.place(object));
    const std::int64_t found = images.find(object.image_id);
    check(found >= 0, ErrorKind::kFormat, "{}.image_id: expected the id of an image, got {}", truth.place(object),
          object.image_id);
    const auto image = static_cast<std::size_t>(found);
    has_truth[image] = 1;
    if (best[image] != nullptr && io::box_iou({&boxes[image], 1}, {&object.box, 1})[0] >= 0.5) right[image] = 1;
  }

  CorLocResult result;
  for (std::size_t i = 0; i < best.size(); ++i) {
    if (!has_truth[i]) {
      ++result.without_truth;
      continue;
    }
    ++result.images;
    result.right += right[i];
    result.without_prediction += best[i] == nullptr;
  }
  if (result.images > 0) result.corloc = static_cast<double>(result.right) / static_cast<double>(result.images);
  return result;
}

}  // namespace usol::eval
