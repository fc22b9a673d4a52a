// Reading COCO JSON: the splitter finds records, threads parse a batch of them at a time, and the set takes them over
// in the file's order.
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "usol/io/coco.h"
#include "usol/io/json_stream.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

namespace {

namespace dom = simdjson::dom;

constexpr std::size_t kBatchRecords = 4096;
constexpr std::size_t kBatchBytes = std::size_t{8} << 20;

// Where a value stands, for messages.
struct Place {
  const std::string& file;
  std::string_view array;
  std::int64_t index;
};

[[noreturn]] void fail_at(const Place& place, std::string_view field, const std::string& what) {
  fail(ErrorKind::kFormat,
       fmt::format("{}: {}[{}]{}{}: {}", place.file, place.array, place.index, field.empty() ? "" : ".", field, what));
}

std::string shown(dom::element value) {
  std::string text = simdjson::minify(value);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

std::int64_t to_integer(dom::element value, const Place& place, std::string_view field) {
  std::int64_t integer = 0;
  if (!value.get(integer)) return integer;
  double number = 0;
  if (value.is_double() && !value.get(number) && std::abs(number) < 9e15 && number == std::trunc(number)) {
    return static_cast<std::int64_t>(number);
  }
  fail_at(place, field, fmt::format("expected an integer, got {}", shown(value)));
}

double to_number(dom::element value, const Place& place, std::string_view field) {
  double number = 0;
  if (value.get(number) || !std::isfinite(number)) {
    fail_at(place, field, fmt::format("expected a number, got {}", shown(value)));
  }
  return number;
}

std::string to_text(dom::element value, const Place& place, std::string_view field) {
  std::string_view text;
  if (value.get(text)) fail_at(place, field, fmt::format("expected a string, got {}", shown(value)));
  return std::string(text);
}

// Python's json writes NaN and Infinity, which are not JSON: say so, with the field.
void fail_if_not_finite(std::string_view text, const Place& place) {
  std::string_view last_string;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '"') {
      std::size_t end = i + 1;
      while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
      if (end >= text.size()) return;
      last_string = text.substr(i + 1, end - i - 1);
      i = end;
    } else {
      for (const std::string_view token : {"NaN", "Infinity", "-Infinity"}) {
        if (text.substr(i).starts_with(token)) {
          fail_at(place, last_string, fmt::format("expected a finite number, got {}", token));
        }
      }
    }
  }
}

dom::object parse_record(dom::parser& parser, const JsonPiece& piece, const char* file_end, const Place& place) {
  // simdjson reads a few bytes past the record; near the end of the file it makes a copy instead.
  const char* end = piece.text.data() + piece.text.size();
  const bool padded = static_cast<std::size_t>(file_end - end) >= simdjson::SIMDJSON_PADDING;
  dom::element element;
  const auto error = parser.parse(piece.text.data(), piece.text.size(), !padded).get(element);
  if (error) {
    fail_if_not_finite(piece.text, place);
    fail_at(place, "",
            fmt::format("malformed JSON in the record at byte {}: {}", piece.offset, simdjson::error_message(error)));
  }
  dom::object object;
  if (element.get(object)) fail_at(place, "", fmt::format("expected an object, got {}", shown(element)));
  return object;
}

// ---- annotations ----

// What a thread needs to parse records one after the other.
struct RecordParser {
  dom::parser json;
  std::vector<std::uint32_t> counts;
};

struct ParsedAnnotation {
  CocoAnnotation annotation;
  std::vector<std::vector<double>> polygons;
  std::string rle;  // compressed counts
};

Box to_box(dom::array values, dom::element shown_value, const Place& place) {
  Box box{};
  std::size_t count = 0;
  for (const dom::element value : values) {
    if (count < 4) box[count] = to_number(value, place, "bbox");
    ++count;
  }
  if (count != 4) fail_at(place, "bbox", fmt::format("expected 4 numbers, got {}", shown(shown_value)));
  if (box[2] < 0 || box[3] < 0) {
    fail_at(place, "bbox", fmt::format("expected width and height of at least 0, got {}", shown(shown_value)));
  }
  return box;
}

// Fills in size, area and compressed counts of an RLE, after checking its counts.
void read_rle(dom::object object, const Place& place, std::vector<std::uint32_t>& scratch, ParsedAnnotation& parsed) {
  dom::array size;
  if (object["size"].get(size) || size.size() != 2) {
    fail_at(place, "segmentation", "expected \"size\": [height, width]");
  }
  const std::int64_t height = to_integer(size.at(0).value_unsafe(), place, "segmentation.size");
  const std::int64_t width = to_integer(size.at(1).value_unsafe(), place, "segmentation.size");
  constexpr std::int64_t kMax = std::numeric_limits<std::int32_t>::max();
  if (height < 0 || width < 0 || height > kMax || width > kMax) {
    fail_at(place, "segmentation.size", fmt::format("expected sizes of 0 to 2^31 - 1, got {} x {}", height, width));
  }
  dom::element counts;
  if (object["counts"].get(counts)) fail_at(place, "segmentation", "expected \"counts\", got none");
  std::string_view text;
  dom::array list;
  const bool compressed = !counts.get(text);
  if (!compressed) {
    if (counts.get(list)) fail_at(place, "segmentation.counts", "expected a string or an array");
    scratch.clear();
    for (const dom::element value : list) {
      const std::int64_t count = to_integer(value, place, "segmentation.counts");
      if (count < 0 || count > std::numeric_limits<std::uint32_t>::max()) {
        fail_at(place, "segmentation.counts", fmt::format("expected counts of 0 to 2^32 - 1, got {}", count));
      }
      scratch.push_back(static_cast<std::uint32_t>(count));
    }
  }
  Segmentation& segmentation = parsed.annotation.segmentation;
  try {
    if (compressed) {
      rle_counts_from_string(text, height, width, scratch);
      parsed.rle = text;
      segmentation.area = static_cast<std::uint32_t>(rle_area(scratch));
    } else {
      const Rle rle = rle_from_counts(scratch, height, width);
      parsed.rle = rle_to_string(rle);
      segmentation.area = static_cast<std::uint32_t>(rle_area(rle));
    }
  } catch (const Error& error) {
    fail_at(place, "segmentation", error.what());
  }
  segmentation.kind = Segmentation::Kind::kRle;
  segmentation.height = static_cast<std::int32_t>(height);
  segmentation.width = static_cast<std::int32_t>(width);
}

void read_segmentation(dom::element value, const Place& place, std::vector<std::uint32_t>& scratch,
                       ParsedAnnotation& parsed) {
  Segmentation& segmentation = parsed.annotation.segmentation;
  dom::object object;
  dom::array array;
  if (value.is_null()) return;
  if (!value.get(object)) {
    read_rle(object, place, scratch, parsed);
    return;
  }
  if (value.get(array)) {
    fail_at(place, "segmentation", fmt::format("expected an RLE object or polygons, got {}", shown(value)));
  }
  for (const dom::element item : array) {
    dom::array values;
    if (item.get(values)) {
      fail_at(place, "segmentation", fmt::format("expected polygons (arrays of numbers), got {}", shown(item)));
    }
    auto& polygon = parsed.polygons.emplace_back();
    polygon.reserve(values.size());
    for (const dom::element coordinate : values) polygon.push_back(to_number(coordinate, place, "segmentation"));
  }
  // Sets that have only boxes write an empty list.
  if (!parsed.polygons.empty()) segmentation.kind = Segmentation::Kind::kPolygons;
}

bool to_flag(dom::element value, const Place& place, std::string_view field) {
  bool flag = false;
  if (!value.get(flag)) return flag;
  const std::int64_t number = to_integer(value, place, field);
  if (number != 0 && number != 1) fail_at(place, field, fmt::format("expected 0 or 1, got {}", number));
  return number == 1;
}

void read_annotation(dom::object object, const Place& place, const CocoReadOptions& options,
                     std::vector<std::uint32_t>& scratch, ParsedAnnotation& parsed) {
  CocoAnnotation& annotation = parsed.annotation;
  bool has_image = false;
  for (const dom::key_value_pair field : object) {
    const std::string_view key = field.key;
    const dom::element value = field.value;
    if (key == "image_id") {
      annotation.image_id = to_integer(value, place, key);
      has_image = true;
    } else if (key == "id") {
      annotation.id = to_integer(value, place, key);
      annotation.has_id = true;
    } else if (key == "category_id") {
      annotation.category_id = to_integer(value, place, key);
      annotation.has_category = true;
    } else if (key == "bbox") {
      dom::array values;
      if (value.get(values)) fail_at(place, key, fmt::format("expected 4 numbers, got {}", shown(value)));
      if (values.size() == 0) continue;
      annotation.box = to_box(values, value, place);
      annotation.has_box = true;
    } else if (key == "area") {
      annotation.area = to_number(value, place, key);
      annotation.has_area = true;
    } else if (key == "score") {
      annotation.score = to_number(value, place, key);
      annotation.has_score = true;
    } else if (key == "iscrowd") {
      annotation.is_crowd = to_flag(value, place, key);
    } else if (key == "segmentation" && options.segmentations) {
      read_segmentation(value, place, scratch, parsed);
    }
  }
  if (!has_image) fail_at(place, "image_id", "missing");
}

// ---- images and categories ----

// LVIS names images by URL only; the folder and the file of it are the name there.
std::string name_from_url(std::string_view url) {
  const std::size_t file = url.rfind('/');
  if (file == std::string_view::npos || file == 0) return std::string(url);
  const std::size_t folder = url.rfind('/', file - 1);
  return std::string(folder == std::string_view::npos ? url : url.substr(folder + 1));
}

CocoImage read_image(dom::object object, const Place& place) {
  CocoImage image;
  bool has_id = false;
  std::string url;
  for (const dom::key_value_pair field : object) {
    const std::string_view key = field.key;
    if (key == "id") {
      image.id = to_integer(field.value, place, key);
      has_id = true;
    } else if (key == "height" || key == "width") {
      const std::int64_t size = to_integer(field.value, place, key);
      if (size < 1 || size > std::numeric_limits<std::int32_t>::max()) {
        fail_at(place, key, fmt::format("expected 1 to 2^31 - 1, got {}", size));
      }
      (key == "height" ? image.height : image.width) = size;
    } else if (key == "file_name") {
      image.file_name = to_text(field.value, place, key);
    } else if (key == "coco_url") {
      std::string_view text;
      if (!field.value.get(text)) url = text;
    }
  }
  if (!has_id) fail_at(place, "id", "missing");
  if (image.file_name.empty()) image.file_name = name_from_url(url);
  return image;
}

CocoCategory read_category(dom::object object, const Place& place) {
  CocoCategory category;
  bool has_id = false;
  for (const dom::key_value_pair field : object) {
    const std::string_view key = field.key;
    if (key == "id") {
      category.id = to_integer(field.value, place, key);
      has_id = true;
    } else if (key == "name") {
      category.name = to_text(field.value, place, key);
    } else if (key == "supercategory") {
      std::string_view text;
      if (!field.value.get(text)) category.supercategory = text;
    }
  }
  if (!has_id) fail_at(place, "id", "missing");
  return category;
}

// ---- the whole file ----

class Reader {
 public:
  Reader(const std::filesystem::path& path, const CocoReadOptions& options) : splitter_(path), options_(options) {
    set_.name = splitter_.name();
    set_.is_results = splitter_.is_array();
  }

  AnnotationSet read() {
    JsonPiece piece;
    std::set<std::string, std::less<>> seen;
    while (splitter_.next(piece)) {
      if (piece.kind == JsonPiece::Kind::kElement) {
        take_element(piece);
        continue;
      }
      flush();
      check(seen.emplace(piece.key).second, ErrorKind::kFormat, "{}: the key \"{}\" stands twice", set_.name,
            piece.key);
      if (piece.kind == JsonPiece::Kind::kValue) {
        check(!is_list(piece.key), ErrorKind::kFormat, "{}: {}: expected an array at byte {}", set_.name, piece.key,
              piece.offset);
        if (piece.key == "info") set_.info_json = piece.text;
      } else if (piece.key == "licenses") {
        set_.licenses_json = "[";
      }
    }
    flush();
    if (!set_.licenses_json.empty()) set_.licenses_json += ']';
    check(set_.is_results || seen.contains("images") || seen.contains("annotations"), ErrorKind::kFormat,
          "{}: expected a COCO data set (an object with images and annotations) or a list of results, got an object "
          "without either",
          set_.name);
    if (!set_.is_results) check_references();
    return std::move(set_);
  }

 private:
  static bool is_list(std::string_view key) { return key == "images" || key == "annotations" || key == "categories"; }
  Place place(const JsonPiece& piece) const { return {set_.name, piece.key, piece.index}; }

  void take_element(const JsonPiece& piece) {
    if (set_.is_results || is_list(piece.key)) {
      batch_.push_back(piece);
      batch_bytes_ += piece.text.size();
      if (batch_.size() >= kBatchRecords || batch_bytes_ >= kBatchBytes) flush();
    } else if (piece.key == "licenses") {
      if (piece.index > 0) set_.licenses_json += ", ";
      set_.licenses_json += piece.text;
    }
  }

  // Calls parse(parser, position in the batch) for the whole batch, in parallel. Of several errors, the one of the
  // first record is thrown, whatever the threads did.
  template <class Parse>
  void parse_batch(const Parse& parse) const {
    std::mutex mutex;
    std::exception_ptr error;
    std::int64_t error_at = std::numeric_limits<std::int64_t>::max();
    parallel_for(0, static_cast<std::int64_t>(batch_.size()), 64, [&](std::int64_t first, std::int64_t last) {
      RecordParser parser;
      std::int64_t i = first;
      try {
        for (; i < last; ++i) parse(parser, static_cast<std::size_t>(i));
      } catch (const Error&) {
        const std::lock_guard lock(mutex);
        if (i < error_at) {
          error_at = i;
          error = std::current_exception();
        }
      }
    });
    if (error) std::rethrow_exception(error);
  }

  dom::object object(RecordParser& parser, const JsonPiece& piece) const {
    return parse_record(parser.json, piece, splitter_.text().data() + splitter_.text().size(), place(piece));
  }

  void flush() {
    if (batch_.empty()) return;
    const std::string_view key = batch_.front().key;
    if (key == "images") {
      const std::size_t start = set_.images.size();
      set_.images.resize(start + batch_.size());
      parse_batch([&](RecordParser& parser, std::size_t i) {
        set_.images[start + i] = read_image(object(parser, batch_[i]), place(batch_[i]));
      });
    } else if (key == "categories") {
      const std::size_t start = set_.categories.size();
      set_.categories.resize(start + batch_.size());
      parse_batch([&](RecordParser& parser, std::size_t i) {
        set_.categories[start + i] = read_category(object(parser, batch_[i]), place(batch_[i]));
      });
    } else {
      flush_annotations();
    }
    batch_.clear();
    batch_bytes_ = 0;
    splitter_.release_behind();
  }

  void flush_annotations() {
    std::vector<ParsedAnnotation> parsed(batch_.size());
    parse_batch([&](RecordParser& parser, std::size_t i) {
      read_annotation(object(parser, batch_[i]), place(batch_[i]), options_, parser.counts, parsed[i]);
    });
    for (ParsedAnnotation& one : parsed) {
      if (one.annotation.segmentation.kind == Segmentation::Kind::kRle) {
        one.annotation.segmentation.bytes = set_.arena.add(one.rle);
      } else if (one.annotation.segmentation.kind == Segmentation::Kind::kPolygons) {
        one.annotation.segmentation = set_.add(one.polygons);
      }
      set_.annotations.push_back(one.annotation);
    }
  }

  void check_references() {
    const IdIndex images = index_images(set_);
    if (const auto twice = images.duplicate()) {
      fail_at({set_.name, "images", twice->second}, "id",
              fmt::format("expected a new id, got {} of images[{}]",
                          set_.images[static_cast<std::size_t>(twice->first)].id, twice->first));
    }
    const IdIndex categories = index_categories(set_);
    if (const auto twice = categories.duplicate()) {
      fail_at({set_.name, "categories", twice->second}, "id",
              fmt::format("expected a new id, got {} of categories[{}]",
                          set_.categories[static_cast<std::size_t>(twice->first)].id, twice->first));
    }
    check_annotation_ids();
    enum class Orientation : std::uint8_t { kUnknown, kStraight, kSwapped };
    std::vector<Orientation> orientations(set_.images.size(), Orientation::kUnknown);
    for (const CocoAnnotation& annotation : set_.annotations) {
      const std::int64_t found = images.find(annotation.image_id);
      check(found >= 0, ErrorKind::kFormat, "{}.image_id: expected the id of an image, got {}", set_.place(annotation),
            annotation.image_id);
      check(!annotation.has_category || set_.categories.empty() || categories.find(annotation.category_id) >= 0,
            ErrorKind::kFormat, "{}.category_id: expected the id of a category, got {}", set_.place(annotation),
            annotation.category_id);
      const Segmentation& mask = annotation.segmentation;
      if (mask.kind != Segmentation::Kind::kRle) continue;
      CocoImage& image = set_.images[static_cast<std::size_t>(found)];
      Orientation& orientation = orientations[static_cast<std::size_t>(found)];
      if (image.height == 0) image.height = mask.height;
      if (image.width == 0) image.width = mask.width;
      const bool straight = mask.height == image.height && mask.width == image.width;
      if (!straight && orientation == Orientation::kUnknown && mask.height == image.width &&
          mask.width == image.height) {
        std::swap(image.height, image.width);
        ++set_.swapped_images;
        orientation = Orientation::kSwapped;
        continue;
      }
      check(straight, ErrorKind::kFormat,
            "{}.segmentation.size: expected the size of image {}, {} x {} (height x width), got {} x {}",
            set_.place(annotation), image.id, image.height, image.width, mask.height, mask.width);
      if (orientation == Orientation::kUnknown) orientation = Orientation::kStraight;
    }
  }

  void check_annotation_ids() const {
    std::vector<std::pair<std::int64_t, std::int64_t>> ids;
    for (const CocoAnnotation& annotation : set_.annotations) {
      if (annotation.has_id) ids.emplace_back(annotation.id, &annotation - set_.annotations.data());
    }
    std::sort(ids.begin(), ids.end());
    const auto twice =
        std::adjacent_find(ids.begin(), ids.end(), [](const auto& a, const auto& b) { return a.first == b.first; });
    if (twice == ids.end()) return;
    fail_at({set_.name, "annotations", twice[1].second}, "id",
            fmt::format("expected a new id, got {} of annotations[{}]", twice->first, twice->second));
  }

  JsonSplitter splitter_;
  CocoReadOptions options_;
  AnnotationSet set_;
  std::vector<JsonPiece> batch_;
  std::size_t batch_bytes_ = 0;
};

}  // namespace

AnnotationSet read_coco(const std::filesystem::path& path, const CocoReadOptions& options) {
  return Reader(path, options).read();
}

}  // namespace usol
