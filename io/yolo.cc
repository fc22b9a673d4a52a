#include "usol/io/yolo.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "usol/io/contour.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

Ring outline(const AnnotationSet& set, const CocoImage& image, const CocoAnnotation& annotation) {
  switch (annotation.segmentation.kind) {
    case Segmentation::Kind::kPolygons: {
      std::vector<Ring> rings;
      for (const std::vector<double>& polygon : set.polygons(annotation.segmentation)) {
        Ring ring;
        for (std::size_t i = 0; i + 1 < polygon.size(); i += 2) ring.push_back({polygon[i], polygon[i + 1]});
        if (!ring.empty()) rings.push_back(std::move(ring));
      }
      return join_rings(rings);
    }
    case Segmentation::Kind::kRle:
      return join_rings(trace_outlines(rle_decode(set.rle(annotation, image.height, image.width))));
    case Segmentation::Kind::kNone:
      break;
  }
  check(annotation.has_box, ErrorKind::kFormat, "{}: has neither a mask nor a box", set.place(annotation));
  const auto [x, y, width, height] = annotation.box;
  return {{x, y}, {x + width, y}, {x + width, y + height}, {x, y + height}};
}

}  // namespace

std::string yolo_labels(const AnnotationSet& set, const CocoImage& image,
                        std::span<const CocoAnnotation* const> annotations) {
  const IdIndex classes = index_categories(set);
  const double width = static_cast<double>(image.width), height = static_cast<double>(image.height);
  std::string text;
  for (const CocoAnnotation* annotation : annotations) {
    if (annotation->is_crowd) continue;
    const std::int64_t category = annotation->has_category ? classes.find(annotation->category_id) : -1;
    check(category >= 0, ErrorKind::kFormat, "{}: unknown category {}", set.place(*annotation),
          annotation->category_id);
    const Ring ring = outline(set, image, *annotation);
    if (ring.empty()) continue;
    text += std::to_string(category);
    for (const auto& [x, y] : ring) {
      text += fmt::format(" {:.7g} {:.7g}", std::clamp(x / width, 0.0, 1.0), std::clamp(y / height, 0.0, 1.0));
    }
    text += '\n';
  }
  return text;
}

std::string yolo_names(const AnnotationSet& set) {
  std::string text = "names:\n";
  for (std::size_t i = 0; i < set.categories.size(); ++i) {
    std::string quoted;
    for (const char c : set.categories[i].name) quoted += c == '\'' ? "''" : std::string(1, c);
    text += fmt::format("  {}: '{}'\n", i, quoted);
  }
  return text;
}

}  // namespace usol::io
