// VOC XML through pugixml.
#include "usol/io/voc.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <functional>
#include <limits>
#include <pugixml.hpp>
#include <set>
#include <sstream>
#include <string_view>
#include <system_error>
#include <utility>

#include "usol/io/coco_repair.h"
#include "usol/io/picture_path.h"
#include "usol/io/placeholder.h"
#include "usol/io/shared_bytes.h"
#include "usol/io/utf8.h"
#include "usol/io/whole_pixels.h"
#include "usol/tensor/check.h"

namespace usol::io {

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

// A side of the picture; 0 if it is not given.
std::int64_t side(const pugi::xml_node& size, const char* field, const std::string& place) {
  if (std::string_view(size.child(field).text().get()).find_first_not_of(" \n\r\t") == std::string_view::npos) return 0;
  const double value = number(size, field, place);
  check(value >= 0 && value <= std::numeric_limits<std::int32_t>::max() && value == std::trunc(value),
        ErrorKind::kFormat, "{}.{}: expected a whole number of 0 (not known) to 2^31 - 1, got {}", place, field, value);
  return static_cast<std::int64_t>(value);
}

// Where the picture of an annotation file may lie: in the given folder, else beside the file or in the folder that the
// development kit has beside it.
std::filesystem::path picture_of(const std::filesystem::path& xml, const std::string& name,
                                 const std::filesystem::path& root) {
  if (!root.empty()) return picture_path(root, name);
  const std::filesystem::path folder = xml.parent_path();
  std::error_code ignored;
  const std::filesystem::path beside = picture_path(folder, name);
  return std::filesystem::exists(beside, ignored) ? beside : picture_path(folder / ".." / "JPEGImages", name);
}

void complete_size(CocoImage& image, const std::string& file, const CocoReadOptions& options, ReadingReport& report) {
  if (image.height > 0 && image.width > 0) return;
  Size size;
  std::string why;
  try {
    size = image_size(picture_of(file, image.file_name, options.image_root), {.apply_exif = options.apply_exif});
  } catch (const Error& error) {
    why = error.what();
  }
  if (!why.empty()) {
    report.add(ReadingKind::kSizeUnknown, [&] { return fmt::format("{}: {}", file, why); });
    return;
  }
  check((image.height == 0 || image.height == size.height) && (image.width == 0 || image.width == size.width),
        ErrorKind::kFormat, "{}: size: expected the picture's, {} x {} (height x width), got {} x {}", file,
        size.height, size.width, image.height, image.width);
  image.height = size.height;
  image.width = size.width;
  report.add(ReadingKind::kSizeFromFile,
             [&] { return fmt::format("{}: {} x {} (height x width)", file, image.height, image.width); });
}

// Names go into JSON. Files in another encoding say so in their first line, by which they are read.
void check_utf8(const std::string& text, const std::string& place) {
  check(is_utf8(text), ErrorKind::kFormat,
        "{}: expected UTF-8, got \"{}\": convert the file, or name its encoding in its first line (<?xml "
        "version=\"1.0\" encoding=\"latin1\"?>)",
        place, printable(text));
}

// A box whose pixels begin at 1, as ours.
Box read_box(const pugi::xml_node& box, const std::string& place, ReadingReport& report) {
  double left = number(box, "xmin", place), top = number(box, "ymin", place);
  const double right = number(box, "xmax", place), bottom = number(box, "ymax", place);
  check(right >= left && bottom >= top, ErrorKind::kFormat, "{}: expected xmax >= xmin and ymax >= ymin", place);
  if (left < 1 || top < 1) {
    report.add(ReadingKind::kVocCorner, [&] { return fmt::format("{}: xmin {}, ymin {}", place, left, top); });
    left = std::max(left, 1.0);
    top = std::max(top, 1.0);
    check(right >= left && bottom >= top, ErrorKind::kFormat, "{}: expected xmax and ymax of at least 1, got {} and {}",
          place, right, bottom);
  }
  --left;
  --top;
  return {left, top, right - left, bottom - top};
}

CocoAnnotation read_object(const pugi::xml_node& object, const std::string& place, const CocoImage& image,
                           std::string& name, ReadingReport& report) {
  name = object.child("name").text().get();
  check(!name.empty(), ErrorKind::kFormat, "{}.name: missing", place);
  check_utf8(name, place + ".name");
  const std::string box_place = place + ".bndbox";
  CocoAnnotation annotation;
  annotation.box = read_box(object.child("bndbox"), box_place, report);
  check_box(
      annotation.box, image, "", [&] { return box_place; }, report);
  annotation.area = annotation.box[2] * annotation.box[3];
  annotation.is_crowd = object.child("difficult").text().as_int() != 0;
  annotation.has_id = annotation.has_category = annotation.has_box = annotation.has_area = true;
  return annotation;
}

}  // namespace

AnnotationSet read_voc(const std::vector<std::filesystem::path>& files, const CocoReadOptions& options) {
  AnnotationSet set;
  if (!files.empty()) set.name = files.size() == 1 ? files[0].string() : files[0].parent_path().string();
  std::vector<std::string> names;
  for (const auto& path : files) {
    const std::string file = path.string();
    pugi::xml_document document;
    const pugi::xml_parse_result result = [&] {
      const SharedBytes bytes = map_file(path);
      refuse_placeholder(bytes.bytes, file, "an annotation file of VOC (XML)");
      return document.load_buffer(bytes.bytes.data(), bytes.size());
    }();
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
    check_utf8(image.file_name, file + ": filename");
    if (image.file_name.find('\\') != std::string::npos) {
      set.report.add(ReadingKind::kBackslash, [&] { return fmt::format("{}: '{}'", file, image.file_name); });
    }
    const pugi::xml_node size = root.child("size");
    image.height = side(size, "height", file + ": size");
    image.width = side(size, "width", file + ": size");
    complete_size(image, file, options, set.report);
    set.images.push_back(image);
    int index = 0;
    for (const pugi::xml_node& object : root.children("object")) {
      std::string name;
      CocoAnnotation annotation =
          read_object(object, fmt::format("{}: object[{}]", file, index++), image, name, set.report);
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
    // Both corners are pixels of the box, counted from 1.
    const PixelSpan x = whole_pixels(box[0], box[2], image.width), y = whole_pixels(box[1], box[3], image.height);
    pugi::xml_node bounds = object.append_child("bndbox");
    add(bounds, "xmin", static_cast<long long>(x.first + 1));
    add(bounds, "ymin", static_cast<long long>(y.first + 1));
    add(bounds, "xmax", static_cast<long long>(x.end));
    add(bounds, "ymax", static_cast<long long>(y.end));
  }
  std::ostringstream text;
  document.save(text, " ", pugi::format_indent | pugi::format_no_declaration);
  return text.str();
}

}  // namespace usol::io
