#include "usol/io/coco_repair.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/io/picture_path.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::io {

namespace {

// Boxes of real sets reach up to a pixel over the edge by rounding.
constexpr double kTolerance_px = 1;

class Repair {
 public:
  Repair(AnnotationSet& set, const CocoReadOptions& options) : set_(set), options_(options) {}

  void run() {
    images_ = index_images(set_);
    categories_ = index_categories(set_);
    check_unique("images", images_, set_.images);
    check_unique("categories", categories_, set_.categories);
    if (options_.images && options_.annotations) leave_out_orphans();
    if (options_.images && options_.sizes) {
      sizes_from_masks();
      sizes_from_pictures();
    }
    if (!options_.annotations || !options_.images) return;
    complete();
    if (options_.segmentations) {
      check_boxes();
    } else {
      for (CocoAnnotation& annotation : set_.annotations) annotation.segmentation = {};
    }
    renumber();
  }

 private:
  template <class T>
  void check_unique(std::string_view array, const IdIndex& index, const std::vector<T>& records) const {
    const auto twice = index.duplicate();
    if (!twice) return;
    const auto [first, second] = *twice;
    fail(ErrorKind::kFormat,
         fmt::format(
             "{}: {}[{}].id: expected a new id, got {} of {}[{}]{}", set_.name, array, second,
             records[static_cast<std::size_t>(first)].id, array, first,
             set_.report.count(ReadingKind::kTextId) > 0 ? " (of ids that are text, the numbers are compared)" : ""));
  }

  // "annotations[3] (id 7)".
  std::string name(const CocoAnnotation& annotation) const {
    return to_string(set_.place(annotation)).substr(set_.name.size() + 2);
  }
  CocoImage& image_of(const CocoAnnotation& annotation) const {
    return set_.images[static_cast<std::size_t>(images_.find(annotation.image_id))];
  }
  std::string name(const CocoImage& image) const {
    return fmt::format("images[{}] (id {})", &image - set_.images.data(), image.id);
  }

  void leave_out_orphans() {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < set_.annotations.size(); ++i) {
      CocoAnnotation& annotation = set_.annotations[i];
      annotation.record = static_cast<std::int64_t>(i);
      if (images_.find(annotation.image_id) < 0) {
        set_.report.add(ReadingKind::kNoImage,
                        [&] { return fmt::format("{}: image {}", name(annotation), annotation.image_id); });
      } else if (annotation.has_category && !set_.categories.empty() && categories_.find(annotation.category_id) < 0) {
        set_.report.add(ReadingKind::kNoCategory,
                        [&] { return fmt::format("{}: category {}", name(annotation), annotation.category_id); });
      } else {
        set_.annotations[kept++] = annotation;
      }
    }
    set_.annotations.resize(kept);
  }

  // ---- sizes ----

  void sizes_from_masks() {
    enum class Orientation : std::uint8_t { kUnknown, kStraight, kSwapped };
    std::vector<Orientation> orientations(set_.images.size(), Orientation::kUnknown);
    for (const CocoAnnotation& annotation : set_.annotations) {
      const Segmentation& mask = annotation.segmentation;
      if (mask.kind != Segmentation::Kind::kRle) continue;
      CocoImage& image = image_of(annotation);
      Orientation& orientation = orientations[static_cast<std::size_t>(&image - set_.images.data())];
      if (image.height == 0 || image.width == 0) {
        set_.report.add(ReadingKind::kSizeFromMask, [&] {
          return fmt::format("{}: {} x {} (height x width)", name(image), mask.height, mask.width);
        });
        if (image.height == 0) image.height = mask.height;
        if (image.width == 0) image.width = mask.width;
      }
      const bool straight = mask.height == image.height && mask.width == image.width;
      if (!straight && orientation == Orientation::kUnknown && mask.height == image.width &&
          mask.width == image.height) {
        std::swap(image.height, image.width);
        set_.report.add(ReadingKind::kSidesSwapped, [&] { return name(image); });
        orientation = Orientation::kSwapped;
        continue;
      }
      check(straight, ErrorKind::kFormat,
            "{}.segmentation.size: expected the size of image {}, {} x {} (height x width), got {} x {}",
            set_.place(annotation), image.id, image.height, image.width, mask.height, mask.width);
      if (orientation == Orientation::kUnknown) orientation = Orientation::kStraight;
    }
  }

  void sizes_from_pictures() {
    std::vector<CocoImage*> unknown;
    for (CocoImage& image : set_.images)
      if (image.height == 0 || image.width == 0) unknown.push_back(&image);
    struct Found {
      Size size;
      std::string error;
    };
    std::vector<Found> found(unknown.size());
    if (!options_.image_root.empty()) {
      parallel_for_each(0, static_cast<std::int64_t>(unknown.size()), [&](std::int64_t i) {
        const auto at = static_cast<std::size_t>(i);
        try {
          found[at].size = image_size(picture_path(options_.image_root, unknown[at]->file_name),
                                      {.apply_exif = options_.apply_exif});
        } catch (const Error& error) {
          found[at].error = std::string(": ") + error.what();
        }
      });
    }
    for (std::size_t i = 0; i < unknown.size(); ++i) {
      CocoImage& image = *unknown[i];
      const auto& [size, error] = found[i];
      if (size.height == 0 || size.width == 0) {
        set_.report.add(ReadingKind::kSizeUnknown, [&, &why = error] { return name(image) + why; });
        continue;
      }
      check((image.height == 0 || image.height == size.height) && (image.width == 0 || image.width == size.width),
            ErrorKind::kFormat, "{}: {}: expected the picture's size, {} x {} (height x width), got {} x {}", set_.name,
            name(image), size.height, size.width, image.height, image.width);
      image.height = size.height;
      image.width = size.width;
      set_.report.add(ReadingKind::kSizeFromFile, [&] {
        return fmt::format("{}: {} x {} (height x width)", name(image), image.height, image.width);
      });
    }
  }

  // ---- boxes and areas ----

  struct Completed {
    Box box;
    double area;
    std::string error;
  };

  Completed from_mask(const CocoAnnotation& annotation) const {
    const CocoImage& image = image_of(annotation);
    try {
      const Rle mask = set_.rle(annotation, image.height, image.width);
      return {rle_to_box(mask), static_cast<double>(rle_area(mask)), {}};
    } catch (const Error& error) {
      return {{}, 0, error.what()};
    }
  }

  void complete() {
    std::vector<CocoAnnotation*> from_masks;
    for (CocoAnnotation& annotation : set_.annotations) {
      if (annotation.has_area && annotation.has_box) continue;
      const CocoImage& image = image_of(annotation);
      if (annotation.segmentation.kind != Segmentation::Kind::kNone) {
        if (image.height > 0 && image.width > 0) from_masks.push_back(&annotation);
      } else if (annotation.has_box) {
        annotation.area = annotation.box[2] * annotation.box[3];
        annotation.has_area = true;
        set_.report.add(ReadingKind::kAreaFromBox, [&] { return name(annotation); });
      }
    }
    std::vector<Completed> completed(from_masks.size());
    parallel_for_each(0, static_cast<std::int64_t>(from_masks.size()), [&](std::int64_t i) {
      completed[static_cast<std::size_t>(i)] = from_mask(*from_masks[static_cast<std::size_t>(i)]);
    });
    for (std::size_t i = 0; i < from_masks.size(); ++i) {
      CocoAnnotation& annotation = *from_masks[i];
      if (!completed[i].error.empty()) fail(ErrorKind::kFormat, completed[i].error);
      if (!annotation.has_box) {
        annotation.box = completed[i].box;
        set_.report.add(ReadingKind::kBoxFromMask, [&] { return name(annotation); });
      }
      if (!annotation.has_area) {
        annotation.area = completed[i].area;
        set_.report.add(ReadingKind::kAreaFromMask,
                        [&] { return fmt::format("{}: {}", name(annotation), annotation.area); });
      }
      annotation.has_box = annotation.has_area = true;
    }
  }

  void check_boxes() {
    for (const CocoAnnotation& annotation : set_.annotations) {
      if (!annotation.has_box) continue;
      const auto place = [&] { return name(annotation) + ".bbox"; };
      check_box(annotation.box, image_of(annotation), set_.name, place, set_.report);
    }
  }

  // ---- ids ----

  void renumber() {
    std::vector<std::pair<std::int64_t, std::size_t>> ids;
    std::vector<std::size_t> without;
    for (std::size_t i = 0; i < set_.annotations.size(); ++i) {
      if (set_.annotations[i].has_id) {
        ids.emplace_back(set_.annotations[i].id, i);
      } else {
        without.push_back(i);
      }
    }
    std::sort(ids.begin(), ids.end());
    for (std::size_t k = 1; k < ids.size(); ++k)
      if (ids[k].first == ids[k - 1].first) without.push_back(ids[k].second);
    std::sort(without.begin(), without.end());
    // New ids follow the largest that is not made of text.
    constexpr std::int64_t kTextIds = std::int64_t{1} << 52;
    const auto end = std::lower_bound(ids.begin(), ids.end(), std::pair{kTextIds, std::size_t{0}});
    std::int64_t next = end == ids.begin() ? 0 : std::max<std::int64_t>(std::prev(end)->first, 0);
    const auto is_used = [&](std::int64_t id) {
      const auto found = std::lower_bound(ids.begin(), ids.end(), std::pair{id, std::size_t{0}});
      return found != ids.end() && found->first == id;
    };
    for (const std::size_t i : without) {
      CocoAnnotation& annotation = set_.annotations[i];
      do {
        ++next;
      } while (is_used(next));
      set_.report.add(ReadingKind::kNewId, [&] { return fmt::format("{}: now {}", name(annotation), next); });
      annotation.id = next;
      annotation.has_id = true;
    }
  }

  AnnotationSet& set_;
  const CocoReadOptions& options_;
  IdIndex images_, categories_;
};

}  // namespace

void check_box(const Box& box, const CocoImage& image, const std::string& file,
               const std::function<std::string()>& place, ReadingReport& report) {
  if (image.height == 0 || image.width == 0) return;
  const double left = box[0], top = box[1], width = box[2], height = box[3];
  const double right = left + width, bottom = top + height;
  const auto image_width = static_cast<double>(image.width), image_height = static_cast<double>(image.height);
  if (std::max({-left, -top, right - image_width, bottom - image_height}) <= kTolerance_px) return;
  const bool outside = std::max({-right, -bottom, left - image_width, top - image_height}) > kTolerance_px;
  const bool inside_exchanged = std::max({-left, -top, right - image_height, bottom - image_width}) <= kTolerance_px;
  check(!outside, ErrorKind::kFormat,
        "{}{}{}: expected a box in its image of {} x {} (height x width), got [{}, {}, {}, {}] (left, top, width, "
        "height), which is wholly outside{}",
        file, file.empty() ? "" : ": ", place(), image.height, image.width, left, top, width, height,
        inside_exchanged ? "; it would be inside if the image's height and width were exchanged" : "");
  report.add(ReadingKind::kPartlyOutside, [&] {
    return fmt::format("{}: [{}, {}, {}, {}] in {} x {}", place(), left, top, width, height, image.height, image.width);
  });
}

void repair_coco(AnnotationSet& set, const CocoReadOptions& options) { Repair(set, options).run(); }

}  // namespace usol::io
