// VOC XML through pugixml.
#include "usol/io/voc.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <pugixml.hpp>
#include <set>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "usol/tensor/check.h"

namespace usol {

namespace {

constexpr std::array<std::string_view, 20> kVocNames = {
    "aeroplane",   "bicycle", "bird",  "boat",      "bottle", "bus",         "car",   "cat",  "chair", "cow",
    "diningtable", "dog",     "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"};

double number(const pugi::xml_node& parent, const char* field, const std::string& place) {
  std::string_view text = parent.child(field).text().get();
  while (!text.empty() && (text.front() == ' ' || text.front() == '\n')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\n')) text.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size() && std::isfinite(value), ErrorKind::kFormat,
        "{}.{}: expected a number, got \"{}\"", place, field, text);
  return value;
}

CocoAnnotation read_object(const pugi::xml_node& object, const std::string& place, std::string& name) {
  name = object.child("name").text().get();
  check(!name.empty(), ErrorKind::kFormat, "{}.name: missing", place);
  const pugi::xml_node box = object.child("bndbox");
  const std::string box_place = place + ".bndbox";
  const double left = number(box, "xmin", box_place) - 1, top = number(box, "ymin", box_place) - 1;
  const double right = number(box, "xmax", box_place), bottom = number(box, "ymax", box_place);
  check(right >= left && bottom >= top, ErrorKind::kFormat, "{}: expected xmax >= xmin and ymax >= ymin", box_place);
  CocoAnnotation annotation;
  annotation.box = {left, top, right - left, bottom - top};
  annotation.area = annotation.box[2] * annotation.box[3];
  annotation.has_id = annotation.has_category = annotation.has_box = annotation.has_area = true;
  return annotation;
}

}  // namespace

AnnotationSet read_voc(const std::vector<std::filesystem::path>& files) {
  AnnotationSet set;
  std::vector<std::string> names;
  for (const auto& path : files) {
    const std::string file = path.string();
    pugi::xml_document document;
    const pugi::xml_parse_result result = document.load_file(path.c_str());
    check(result.status != pugi::status_file_not_found && result.status != pugi::status_io_error, ErrorKind::kIo,
          "{}: cannot read", file);
    check(static_cast<bool>(result), ErrorKind::kFormat, "{}: malformed XML at byte {}: {}", file, result.offset,
          result.description());
    const pugi::xml_node root = document.child("annotation");
    check(!root.empty(), ErrorKind::kFormat, "{}: expected an <annotation>", file);
    CocoImage image;
    image.id = static_cast<std::int64_t>(set.images.size()) + 1;
    image.file_name = root.child("filename").text().get();
    check(!image.file_name.empty(), ErrorKind::kFormat, "{}: filename: missing", file);
    const pugi::xml_node size = root.child("size");
    image.height = static_cast<std::int64_t>(number(size, "height", file + ": size"));
    image.width = static_cast<std::int64_t>(number(size, "width", file + ": size"));
    check(image.height > 0 && image.width > 0, ErrorKind::kFormat, "{}: size: expected sizes above 0", file);
    set.images.push_back(image);
    int index = 0;
    for (const pugi::xml_node& object : root.children("object")) {
      std::string name;
      CocoAnnotation annotation = read_object(object, fmt::format("{}: object[{}]", file, index++), name);
      annotation.id = static_cast<std::int64_t>(set.annotations.size()) + 1;
      annotation.image_id = image.id;
      set.annotations.push_back(annotation);
      names.push_back(std::move(name));
    }
  }
  std::set<std::string, std::less<>> found(names.begin(), names.end());
  const bool usual = std::all_of(found.begin(), found.end(), [](const std::string& name) {
    return std::find(kVocNames.begin(), kVocNames.end(), name) != kVocNames.end();
  });
  if (usual) found = {kVocNames.begin(), kVocNames.end()};
  for (const std::string& name : found) {
    set.categories.push_back({static_cast<std::int64_t>(set.categories.size()) + 1, name, ""});
  }
  for (std::size_t i = 0; i < names.size(); ++i) {
    set.annotations[i].category_id = std::distance(found.begin(), found.find(names[i])) + 1;
  }
  return set;
}

std::string voc_xml(const AnnotationSet& set, const CocoImage& image,
                    std::span<const CocoAnnotation* const> annotations) {
  pugi::xml_document document;
  const auto add = [](pugi::xml_node parent, const char* name, auto value) {
    parent.append_child(name).text().set(value);
  };
  pugi::xml_node root = document.append_child("annotation");
  add(root, "filename", image.file_name.c_str());
  pugi::xml_node size = root.append_child("size");
  add(size, "width", static_cast<long long>(image.width));
  add(size, "height", static_cast<long long>(image.height));
  add(size, "depth", 3);
  add(root, "segmented", 0);
  for (const CocoAnnotation* annotation : annotations) {
    check(annotation->has_box, ErrorKind::kFormat, "{}.bbox: missing", set.place(*annotation));
    const auto category = std::find_if(set.categories.begin(), set.categories.end(),
                                       [&](const CocoCategory& c) { return c.id == annotation->category_id; });
    check(category != set.categories.end(), ErrorKind::kFormat, "{}.category_id: expected the id of a category",
          set.place(*annotation));
    pugi::xml_node object = root.append_child("object");
    add(object, "name", category->name.c_str());
    add(object, "truncated", 0);
    add(object, "difficult", annotation->is_crowd ? 1 : 0);
    const Box& box = annotation->box;
    const auto first = [](double start, std::int64_t limit) {
      return std::clamp<long long>(std::llround(start) + 1, 1, limit);
    };
    const auto last = [](double end, long long from, std::int64_t limit) {
      return std::clamp<long long>(std::llround(end), from, limit);
    };
    const long long left = first(box[0], image.width), top = first(box[1], image.height);
    pugi::xml_node bounds = object.append_child("bndbox");
    add(bounds, "xmin", left);
    add(bounds, "ymin", top);
    add(bounds, "xmax", last(box[0] + box[2], left, image.width));
    add(bounds, "ymax", last(box[1] + box[3], top, image.height));
  }
  std::ostringstream text;
  document.save(text, " ", pugi::format_indent | pugi::format_no_declaration);
  return text.str();
}

}  // namespace usol
