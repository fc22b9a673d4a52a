// AnnotationSet: the compact form in memory. An RLE is kept as COCO's compressed text, a polygon as its doubles.
#include "usol/io/coco.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "usol/tensor/check.h"

namespace usol::io {

namespace {

constexpr std::size_t kChunkBytes = std::size_t{4} << 20;

template <class T>
void append_raw(std::string& out, const T* values, std::size_t count) {
  out.append(reinterpret_cast<const char*>(values), count * sizeof(T));
}

template <class T>
void take_raw(std::string_view& in, T* values, std::size_t count) {
  std::memcpy(values, in.data(), count * sizeof(T));
  in.remove_prefix(count * sizeof(T));
}

template <class T>
IdIndex index_of(const std::vector<T>& records) {
  std::vector<std::int64_t> ids;
  ids.reserve(records.size());
  for (const T& record : records) ids.push_back(record.id);
  return IdIndex(std::move(ids));
}

}  // namespace

ByteArena::Ref ByteArena::add(std::string_view bytes) {
  check(bytes.size() <= std::numeric_limits<std::uint32_t>::max(), "ByteArena: expected at most 4 GiB, got {} bytes",
        bytes.size());
  if (chunks_.empty() || capacity_ - used_ < bytes.size()) {
    capacity_ = std::max(kChunkBytes, bytes.size());
    chunks_.push_back(std::make_unique<char[]>(capacity_));
    used_ = 0;
  }
  const Ref ref{static_cast<std::uint32_t>(chunks_.size() - 1), static_cast<std::uint32_t>(used_),
                static_cast<std::uint32_t>(bytes.size())};
  if (!bytes.empty()) std::memcpy(chunks_.back().get() + used_, bytes.data(), bytes.size());
  used_ += bytes.size();
  total_ += bytes.size();
  return ref;
}

std::string to_string(const AnnotationPlace& place) {
  const std::int64_t record = place.annotation.record;
  const std::int64_t index = record >= 0 ? record : &place.annotation - place.set.annotations.data();
  std::string text = fmt::format("{}: {}[{}]", place.set.name, place.set.is_results ? "" : "annotations", index);
  if (place.annotation.has_id) text += fmt::format(" (id {})", place.annotation.id);
  return text;
}

Segmentation AnnotationSet::add(const Rle& rle) {
  Segmentation segmentation;
  segmentation.kind = Segmentation::Kind::kRle;
  segmentation.height = static_cast<std::int32_t>(rle.height);
  segmentation.width = static_cast<std::int32_t>(rle.width);
  segmentation.area = static_cast<std::uint32_t>(rle_area(rle));
  segmentation.bytes = arena.add(rle_to_string(rle));
  return segmentation;
}

// Layout: the number of polygons, the number of values of each, all values.
Segmentation AnnotationSet::add(std::span<const std::vector<double>> list) {
  std::string bytes;
  const auto count = static_cast<std::uint32_t>(list.size());
  append_raw(bytes, &count, 1);
  for (const auto& polygon : list) {
    const auto values = static_cast<std::uint32_t>(polygon.size());
    append_raw(bytes, &values, 1);
  }
  for (const auto& polygon : list) append_raw(bytes, polygon.data(), polygon.size());
  Segmentation segmentation;
  segmentation.kind = Segmentation::Kind::kPolygons;
  segmentation.bytes = arena.add(bytes);
  return segmentation;
}

std::vector<std::vector<double>> AnnotationSet::polygons(const Segmentation& segmentation) const {
  check(segmentation.kind == Segmentation::Kind::kPolygons, "AnnotationSet: expected a segmentation of polygons");
  std::string_view bytes = arena.view(segmentation.bytes);
  std::uint32_t count = 0;
  take_raw(bytes, &count, 1);
  std::vector<std::uint32_t> sizes(count);
  take_raw(bytes, sizes.data(), count);
  std::vector<std::vector<double>> list;
  list.reserve(count);
  for (const std::uint32_t size : sizes) {
    list.emplace_back(size);
    take_raw(bytes, list.back().data(), size);
  }
  return list;
}

Rle AnnotationSet::rle(const CocoAnnotation& annotation, std::int64_t height, std::int64_t width) const {
  const Segmentation& segmentation = annotation.segmentation;
  check(segmentation.kind != Segmentation::Kind::kNone, ErrorKind::kFormat, "{}: expected a segmentation, got none",
        place(annotation));
  if (segmentation.kind == Segmentation::Kind::kPolygons) {
    check(height > 0 && width > 0, ErrorKind::kFormat,
          "{}: its image {} has no height and width, which its polygons need", place(annotation), annotation.image_id);
    try {
      return rle_from_polygons(polygons(segmentation), height, width);
    } catch (const Error& error) {
      fail(ErrorKind::kFormat, fmt::format("{}.segmentation: {}", place(annotation), error.what()));
    }
  }
  check(segmentation.height == height && segmentation.width == width, ErrorKind::kFormat,
        "{}.segmentation: expected the size of image {}, {} x {} (height x width), got {} x {}", place(annotation),
        annotation.image_id, height, width, segmentation.height, segmentation.width);
  return rle_from_string(arena.view(segmentation.bytes), height, width);
}

std::int64_t AnnotationSet::mask_area(const CocoAnnotation& annotation, std::int64_t height, std::int64_t width) const {
  const Segmentation& segmentation = annotation.segmentation;
  if (segmentation.kind == Segmentation::Kind::kRle && segmentation.height == height && segmentation.width == width) {
    return segmentation.area;
  }
  return rle_area(rle(annotation, height, width));
}

IdIndex::IdIndex(std::vector<std::int64_t> ids) {
  sorted_.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) sorted_.emplace_back(ids[i], static_cast<std::int64_t>(i));
  std::sort(sorted_.begin(), sorted_.end());
}

std::int64_t IdIndex::find(std::int64_t id) const {
  const auto found = std::lower_bound(sorted_.begin(), sorted_.end(), std::pair{id, std::int64_t{0}});
  return found != sorted_.end() && found->first == id ? found->second : -1;
}

std::optional<std::pair<std::int64_t, std::int64_t>> IdIndex::duplicate() const {
  const auto same_id = [](const auto& a, const auto& b) { return a.first == b.first; };
  const auto found = std::adjacent_find(sorted_.begin(), sorted_.end(), same_id);
  if (found == sorted_.end()) return std::nullopt;
  return std::pair{found[0].second, found[1].second};
}

IdIndex index_images(const AnnotationSet& set) { return index_of(set.images); }
IdIndex index_categories(const AnnotationSet& set) { return index_of(set.categories); }

}  // namespace usol::io
