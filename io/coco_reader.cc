// Reading COCO JSON: the splitter finds records, threads parse a batch of them at a time, and the set takes them over
// in the file's order. Once all are there, CocoRepair (io/coco_repair.h) compares and completes them.
#include <simdjson.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <limits>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "usol/io/coco.h"
#include "usol/io/coco_repair.h"
#include "usol/io/json_stream.h"
#include "usol/io/sha256.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::io {

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

// "annotations[3].area", without the file.
std::string to_string(const Place& place, std::string_view field) {
  return fmt::format("{}[{}]{}{}", place.array, place.index, field.empty() ? "" : ".", field);
}

[[noreturn]] void fail_at(const Place& place, std::string_view field, const std::string& what) {
  fail(ErrorKind::kFormat, fmt::format("{}: {}: {}", place.file, to_string(place, field), what));
}

// What was noticed in one record, in its order. Most records have none.
using Notes = std::vector<std::pair<ReadingKind, std::string>>;

std::string shown(dom::element value) {
  std::string text = simdjson::minify(value);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

constexpr double kExactIntegers = 9007199254740992;  // 2^53: above, a double may stand for several

std::int64_t to_integer(dom::element value, const Place& place, std::string_view field) {
  std::int64_t integer = 0;
  if (!value.get(integer)) return integer;
  double number = 0;
  if (value.is_double() && !value.get(number) && number == std::trunc(number)) {
    if (std::abs(number) <= kExactIntegers) return static_cast<std::int64_t>(number);
    fail_at(place, field,
            fmt::format("expected an integer, got {}, whose last digits are lost: write it without point and exponent",
                        shown(value)));
  }
  fail_at(place, field, fmt::format("expected an integer, got {}", shown(value)));
}

// An id: an integer, or what id_from_text() makes of text and of what int64 cannot hold.
std::int64_t to_id(dom::element value, const Place& place, std::string_view field, Notes& notes) {
  std::string_view text;
  std::uint64_t large = 0;
  std::int64_t integer = 0;
  std::string digits;
  if (!value.get(integer)) return integer;
  if (!value.get(large)) {
    digits = fmt::format("{}", large);
    text = digits;
  } else if (value.get(text)) {
    return to_integer(value, place, field);
  }
  if (text.empty()) fail_at(place, field, "expected an id, got an empty text");
  const std::int64_t id = id_from_text(text);
  notes.emplace_back(ReadingKind::kTextId, fmt::format("{} {} is {}", to_string(place, field), shown(value), id));
  return id;
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

// Python's json writes NaN, Infinity and whole numbers of any length, which are not JSON or not readable: say so, with
// the field.
void fail_if_no_number(std::string_view text, const Place& place) {
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
      std::size_t end = i;
      while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) || text[end] == '.')) ++end;
      const std::string_view number = text.substr(i, end - i);
      constexpr std::string_view kLargest = "18446744073709551615";
      if (number.find('.') == std::string_view::npos &&
          (number.size() > kLargest.size() || (number.size() == kLargest.size() && number > kLargest))) {
        fail_at(place, last_string, fmt::format("expected a number below 2^64, got {}", number));
      }
      if (end > i) i = end - 1;
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
    check(error != simdjson::UTF8_ERROR, ErrorKind::kFormat,
          "{}: {}: the record at byte {} is not UTF-8: convert the file (iconv -f latin1 -t utf8 FILE, if it is in "
          "Latin-1)",
          place.file, to_string(place, ""), piece.offset);
    check(
        error != simdjson::STRING_ERROR || piece.text.find("\\ud") == std::string_view::npos, ErrorKind::kFormat,
        "{}: {}: a string in the record at byte {} is malformed: a \\ud800 to \\udfff that is no half of a pair stands "
        "for no character (Python writes file names so that are not UTF-8: rename the files)",
        place.file, to_string(place, ""), piece.offset);
    fail_if_no_number(piece.text, place);
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
  Notes notes;
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
  std::size_t number = 0;
  for (const dom::element item : array) {
    dom::array values;
    if (item.get(values)) {
      fail_at(place, "segmentation", fmt::format("expected polygons (arrays of numbers), got {}", shown(item)));
    }
    const std::string field = fmt::format("segmentation[{}]", number++);
    if (values.size() % 2 != 0) {
      fail_at(place, field, fmt::format("expected x y pairs, got {} numbers", values.size()));
    }
    std::vector<double> polygon;
    polygon.reserve(values.size());
    for (const dom::element coordinate : values) {
      polygon.push_back(to_number(coordinate, place, field));
      if (std::abs(polygon.back()) > kMaxPolygonCoordinate) {
        fail_at(place, field, fmt::format("expected coordinates within 1e7, got {}", shown(coordinate)));
      }
    }
    if (polygon.size() >= kMinPolygonValues) {
      parsed.polygons.push_back(std::move(polygon));
    } else {
      parsed.notes.emplace_back(ReadingKind::kShortPolygon,
                                fmt::format("{}: {} points", to_string(place, field), polygon.size() / 2));
    }
  }
  if (!parsed.polygons.empty()) {
    segmentation.kind = Segmentation::Kind::kPolygons;
  } else if (number > 0) {
    parsed.annotation.lost_mask = true;
    parsed.notes.emplace_back(ReadingKind::kMaskLost, to_string(place, ""));
  }
  // Sets that have only boxes write an empty list: nothing is lost there.
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
  dom::element mask;
  bool has_mask = false;
  for (const dom::key_value_pair field : object) {
    const std::string_view key = field.key;
    const dom::element value = field.value;
    if (key == "score") {  // a null is a score that was not finite
      annotation.score = to_number(value, place, key);
      annotation.has_score = true;
      continue;
    }
    if (value.is_null()) continue;
    if (key == "image_id") {
      annotation.image_id = to_id(value, place, key, parsed.notes);
      has_image = true;
    } else if (key == "id") {
      annotation.id = to_id(value, place, key, parsed.notes);
      annotation.has_id = true;
    } else if (key == "category_id") {
      annotation.category_id = to_id(value, place, key, parsed.notes);
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
      if (annotation.area < 0) fail_at(place, key, fmt::format("expected at least 0, got {}", shown(value)));
    } else if (key == "iscrowd") {
      annotation.is_crowd = to_flag(value, place, key);
    } else if (key == "segmentation") {
      mask = value;
      has_mask = true;
    }
  }
  if (!has_image) fail_at(place, "image_id", "missing");
  // A mask is needed to complete the record, too. A result is never completed.
  const bool complete = annotation.has_box && (annotation.has_area || place.array.empty());
  if (has_mask && (options.segmentations || !complete)) read_segmentation(mask, place, scratch, parsed);
}

// ---- images and categories ----

// LVIS names images by URL only; the folder and the file of it are the name there.
std::string name_from_url(std::string_view url) {
  const std::size_t file = url.rfind('/');
  if (file == std::string_view::npos || file == 0) return std::string(url);
  const std::size_t folder = url.rfind('/', file - 1);
  return std::string(folder == std::string_view::npos ? url : url.substr(folder + 1));
}

CocoImage read_image(dom::object object, const Place& place, Notes& notes) {
  CocoImage image;
  bool has_id = false;
  std::string url;
  for (const dom::key_value_pair field : object) {
    const std::string_view key = field.key;
    if (field.value.is_null()) continue;
    if (key == "id") {
      image.id = to_id(field.value, place, key, notes);
      has_id = true;
    } else if (key == "height" || key == "width") {
      const std::int64_t size = to_integer(field.value, place, key);
      if (size < 0 || size > std::numeric_limits<std::int32_t>::max()) {
        fail_at(place, key, fmt::format("expected 0 (not known) to 2^31 - 1, got {}", size));
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
  if (image.file_name.find('\\') != std::string::npos) {
    notes.emplace_back(ReadingKind::kBackslash, fmt::format("{} '{}'", to_string(place, "file_name"), image.file_name));
  }
  return image;
}

CocoCategory read_category(dom::object object, const Place& place, Notes& notes) {
  CocoCategory category;
  bool has_id = false;
  for (const dom::key_value_pair field : object) {
    const std::string_view key = field.key;
    if (field.value.is_null()) continue;
    if (key == "id") {
      category.id = to_id(field.value, place, key, notes);
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
    if (!set_.is_results) repair_coco(set_, options_);
    return std::move(set_);
  }

 private:
  static bool is_list(std::string_view key) { return key == "images" || key == "annotations" || key == "categories"; }
  Place place(const JsonPiece& piece) const { return {set_.name, piece.key, piece.index}; }

  bool is_wanted(std::string_view key) const {
    return key == "categories" || (key == "images" ? options_.images : options_.annotations);
  }

  void take_element(const JsonPiece& piece) {
    if (set_.is_results || is_list(piece.key)) {
      if (!is_wanted(piece.key)) {
        splitter_.release_behind();
        return;
      }
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
      std::vector<Notes> notes(batch_.size());
      parse_batch([&](RecordParser& parser, std::size_t i) {
        set_.images[start + i] = read_image(object(parser, batch_[i]), place(batch_[i]), notes[i]);
      });
      report(notes);
    } else if (key == "categories") {
      const std::size_t start = set_.categories.size();
      set_.categories.resize(start + batch_.size());
      std::vector<Notes> notes(batch_.size());
      parse_batch([&](RecordParser& parser, std::size_t i) {
        set_.categories[start + i] = read_category(object(parser, batch_[i]), place(batch_[i]), notes[i]);
      });
      report(notes);
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
      report(one.notes);
      if (one.annotation.segmentation.kind == Segmentation::Kind::kRle) {
        one.annotation.segmentation.bytes = set_.arena.add(one.rle);
      } else if (one.annotation.segmentation.kind == Segmentation::Kind::kPolygons) {
        one.annotation.segmentation = set_.add(one.polygons);
      }
      set_.annotations.push_back(one.annotation);
    }
  }

  void report(Notes& notes) {
    for (auto& [kind, example] : notes) set_.report.add(kind, std::move(example));
  }
  void report(std::vector<Notes>& records) {
    for (Notes& notes : records) report(notes);
  }

  JsonSplitter splitter_;
  CocoReadOptions options_;
  AnnotationSet set_;
  std::vector<JsonPiece> batch_;
  std::size_t batch_bytes_ = 0;
};

}  // namespace

std::int64_t id_from_text(std::string_view text) {
  const bool negative = text.starts_with('-');
  const std::string_view digits = text.substr(negative ? 1 : 0);
  const bool all_digits =
      !digits.empty() && std::all_of(digits.begin(), digits.end(), [](char c) { return c >= '0' && c <= '9'; });
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (all_digits && error == std::errc()) return number;
  const std::string hash = sha256_hex(std::as_bytes(std::span(text)));
  std::uint64_t bits = 0;
  std::from_chars(hash.data(), hash.data() + 13, bits, 16);
  return static_cast<std::int64_t>((std::uint64_t{1} << 52) + bits);
}

AnnotationSet read_coco(const std::filesystem::path& path, const CocoReadOptions& options) {
  return Reader(path, options).read();
}

}  // namespace usol::io
