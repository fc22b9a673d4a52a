#include "usol/pipeline/detect.h"

#include <algorithm>
#include <utility>

#include "usol/io/draw.h"
#include "usol/io/resize.h"

namespace usol {

io::CocoAnnotation FoundObject::annotation(std::int64_t image_id, std::int64_t category_id) const {
  io::CocoAnnotation annotation;
  annotation.image_id = image_id;
  annotation.category_id = category_id;
  annotation.box = box;
  annotation.area = mask.counts.empty() ? box[2] * box[3] : static_cast<double>(io::rle_area(mask));
  annotation.score = score;
  annotation.has_category = annotation.has_box = annotation.has_area = annotation.has_score = true;
  return annotation;
}

Tensor resized_for_network(const Tensor& picture, std::int64_t short_px, std::int64_t long_px) {
  const Size size = network_size({picture.size(0), picture.size(1)}, short_px, long_px);
  return resize(picture, size.height, size.width, io::Filter::kBilinear);
}

std::vector<Tensor> TestViews::of(const Tensor& picture) const {
  std::vector<Tensor> views;
  for (const std::int64_t short_px : short_sides) {
    const Tensor view = resized_for_network(picture, short_px, long_px);
    const bool known =
        std::any_of(views.begin(), views.end(), [&](const Tensor& v) { return v.shape() == view.shape(); });
    if (!known) views.push_back(view);
  }
  return views;
}

std::vector<FoundObject> to_picture(const detection::Detections& detections, const Tensor& resized,
                                    const Tensor& picture) {
  const Size from{resized.size(0), resized.size(1)}, to{picture.size(0), picture.size(1)};
  const detection::Detections all = rescaled(detections, from, to);
  const auto boxes = all.boxes.to_vector<float>(), scores = all.scores.to_vector<float>();
  const auto classes = all.classes.to_vector<std::int64_t>();
  std::vector<FoundObject> found;
  for (std::int64_t i = 0; i < all.size(); ++i) {
    const auto at = static_cast<std::size_t>(i);
    const auto side = [&](std::size_t k) { return static_cast<double>(boxes[4 * at + k]); };
    FoundObject object;
    object.box = {side(0), side(1), side(2) - side(0), side(3) - side(1)};
    object.score = static_cast<double>(scores[at]);
    object.label = classes[at];
    if (all.masks.defined()) {
      // One by one: a hundred masks of a large picture would be gigabytes.
      detection::Detections one{all.boxes.slice(0, i, i + 1), {}, {}, all.masks.slice(0, i, i + 1), all.frame};
      object.mask = io::rle_encode(full_masks(one, to).to(Device{}).select(0, 0));
      if (all.has_whole_masks()) {
        object.box = io::rle_to_box(object.mask);
        if (io::rle_area(object.mask) == 0) continue;
      }
    }
    found.push_back(std::move(object));
  }
  return found;
}

std::vector<FoundObject> find_objects(const Detector& model, const Tensor& picture, const Tensor& resized,
                                      const detection::DetectOptions& options) {
  return to_picture(model.detect({resized}, options).front(), resized, picture);
}

void drop_wide(std::vector<FoundObject>& found, double share, std::int64_t width) {
  if (share <= 0) return;
  const double bound = share * static_cast<double>(width);
  std::erase_if(found, [&](const FoundObject& object) { return object.box[2] >= bound; });
}

Tensor draw_found(const Tensor& picture, const std::vector<FoundObject>& found) {
  std::vector<io::OverlayObject> objects;
  for (const FoundObject& f : found) {
    const Tensor mask = f.mask.counts.empty() ? Tensor() : io::rle_decode(f.mask);
    objects.push_back({mask, f.box, fmt::format("{:.2f}", f.score)});
  }
  return io::draw_overlay(picture, objects);
}

}  // namespace usol
