#pragma once
// Annotations: images, boxes and masks, as COCO JSON on disk and compact in memory.
// Place: both ends of training, the output of MaskCut and of prediction, the input of evaluation.
// Source: COCO's data and result formats (cocodataset.org).

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/io/atomic_file.h"
#include "usol/io/reading_report.h"
#include "usol/io/rle.h"
#include "usol/tensor/format.h"

namespace usol::io {

/// An append-only store of byte strings; a Ref stays valid for the arena's life.
class ByteArena {
 public:
  struct Ref {
    std::uint32_t chunk = 0, offset = 0, size = 0;
  };
  /// Throws Error if `bytes` exceeds 4 GiB.
  Ref add(std::string_view bytes);
  std::string_view view(Ref ref) const { return {chunks_[ref.chunk].get() + ref.offset, ref.size}; }
  std::size_t bytes() const { return total_; }

 private:
  std::vector<std::unique_ptr<char[]>> chunks_;
  std::size_t used_ = 0, capacity_ = 0, total_ = 0;  // of the last chunk; of all
};

/// A mask as the file had it; its bytes lie in the AnnotationSet's arena.
struct Segmentation {
  enum class Kind : std::uint8_t { kNone, kPolygons, kRle };
  Kind kind = Kind::kNone;
  std::int32_t height = 0, width = 0;  // of an RLE: its own size
  std::uint32_t area = 0;              // of an RLE: its foreground pixels
  ByteArena::Ref bytes;
};

struct CocoImage {
  std::int64_t id = 0;
  std::int64_t height = 0, width = 0;  // 0: not given
  std::string file_name;
};

struct CocoCategory {
  std::int64_t id = 0;
  std::string name, supercategory;
};

/// One object (of the truth) or detection. Fields that the file lacks are marked by the has_ flags.
struct CocoAnnotation {
  std::int64_t id = 0, image_id = 0, category_id = 0;
  Box box{};  // left, top, width, height in pixels
  double area = 0;
  double score = 0;
  Segmentation segmentation;
  std::int64_t record = -1;  // its position in the file; -1: that in its set
  bool is_crowd = false;
  bool lost_mask = false;  // all of its polygons had fewer than three points and were left out
  bool has_id = false, has_category = false, has_box = false, has_area = false, has_score = false;
};

struct AnnotationSet;

/// "FILE: annotations[17] (id 23)", for results "FILE: [17]". Formatted only where a message needs it.
struct AnnotationPlace {
  const AnnotationSet& set;
  const CocoAnnotation& annotation;
};
std::string to_string(const AnnotationPlace& place);

/// A data set, or a list of results (then it has no images and no categories).
struct AnnotationSet {
  std::string name;                      // the file's path, for messages
  bool is_results = false;               // read from an array of results
  std::string info_json, licenses_json;  // as they stood; empty if absent
  std::vector<CocoImage> images;         // in the file's order, as all of these
  std::vector<CocoCategory> categories;
  std::vector<CocoAnnotation> annotations;
  ReadingReport report;  // what the reader filled in, changed or left out
  ByteArena arena;

  /// Where one of `annotations` stands in the file, for messages.
  AnnotationPlace place(const CocoAnnotation& annotation) const { return {*this, annotation}; }
  Segmentation add(const Rle& rle);
  Segmentation add(std::span<const std::vector<double>> polygons);
  /// The polygons of a segmentation of that kind.
  std::vector<std::vector<double>> polygons(const Segmentation& segmentation) const;
  /// The mask on an image of this size. Throws Error(kFormat) naming the annotation if it has none, if its RLE has
  /// another size, if its polygons are malformed, or if it has polygons and the size is 0 (not known).
  Rle rle(const CocoAnnotation& annotation, std::int64_t height, std::int64_t width) const;
  /// Its foreground pixels, without decoding an RLE. Throws as rle().
  std::int64_t mask_area(const CocoAnnotation& annotation, std::int64_t height, std::int64_t width) const;
};

/// Positions by id.
class IdIndex {
 public:
  IdIndex() = default;
  explicit IdIndex(std::vector<std::int64_t> ids);
  /// Position of the id in the list it was made from, or -1.
  std::int64_t find(std::int64_t id) const;
  /// Positions of two equal ids, if there are any.
  std::optional<std::pair<std::int64_t, std::int64_t>> duplicate() const;

 private:
  std::vector<std::pair<std::int64_t, std::int64_t>> sorted_;  // id, position
};
IdIndex index_images(const AnnotationSet& set);
IdIndex index_categories(const AnnotationSet& set);

// ---- reading ----

struct CocoReadOptions {
  bool images = true, annotations = true;  // false: leaves these records out, unread
  bool sizes = true;                       // false: the images' sizes are neither completed nor compared with masks
  bool segmentations = true;  // false: leaves masks out (box-only work needs a fraction of the memory), but for those
                              // that a missing box or area is computed from
  std::filesystem::path image_root = {};  // the folder of the pictures, for sizes that the file lacks; may be empty
  bool apply_exif = true;                 // those sizes: of the pictures turned as their EXIF orientation says
};

/// The number that stands for an id that is text, in every file and process: of decimal digits their value (leading
/// zeros do not count) if it is below 2^63, of other text 2^52 + the first 52 bits of its SHA-256.
std::int64_t id_from_text(std::string_view text);

/// Reads a COCO data set (an object with images, annotations, categories) or a list of results (an array), record by
/// record: the file is never in memory as a whole. Unknown fields are ignored, null is as good as not given (but as an
/// id of an image or category, or a score). What can be repaired without changing a number of the file is repaired, and
/// counted in the set's report; see ReadingKind, and docs/annotations.md for all rules. In short: ids may be text;
/// annotations of unknown images or categories and polygons of fewer than three points are left out, as Detectron2
/// does; missing areas are computed as pycocotools would from the mask, missing boxes too, missing sizes are taken from
/// masks or pictures; the release's exchanged image width and height are put right where a mask's own size proves the
/// exchange (spec section 2). A list of results is not completed: it has no images.
/// Throws Error(kIo) if the file cannot be read, and Error(kFormat) naming file, array, record and field for malformed
/// JSON, missing or ill-typed fields, numbers that are not finite, fractions as ids and whole numbers beyond 2^53 that
/// are written as fractions, negative sizes and areas, boxes wholly outside of their image, malformed masks, polygons
/// with an odd number of values, masks of another size than their image, and duplicate ids of images or categories
/// (also of those made of text).
AnnotationSet read_coco(const std::filesystem::path& path, const CocoReadOptions& options = {});

// ---- writing ----

/// The records that CocoWriter writes, as text, for journals. An object's mask is left out if it has no counts.
std::string coco_image_json(const CocoImage& image);
std::string coco_annotation_json(const CocoAnnotation& annotation, const Rle& mask);

/// Writes a COCO data set record by record. Equal calls give equal bytes; the file appears when finish() returns.
class CocoWriter {
 public:
  /// Throws Error(kIo).
  explicit CocoWriter(const std::filesystem::path& path);
  ~CocoWriter();

  /// Images and annotations may come in any order between each other; each kind keeps the order of its calls.
  void add_image(const CocoImage& image);
  /// An annotation with its mask; `annotation.segmentation` is not used. Ids, area, box and category are written as
  /// given, the score if has_score, and the mask's own width and height.
  void add_annotation(const CocoAnnotation& annotation, const Rle& mask);
  /// An annotation of `set`, its segmentation as it is.
  void add_annotation(const CocoAnnotation& annotation, const AnnotationSet& set);
  /// Records as text, from coco_*_json() or another file; written as they are.
  void add_image_json(std::string_view record);
  void add_annotation_json(std::string_view record);
  /// `info_json`, `licenses_json`: a JSON object and array as text (empty: left out). Call once, last.
  void finish(std::span<const CocoCategory> categories, std::string_view info_json = {},
              std::string_view licenses_json = {});

 private:
  struct Spool;

  AtomicFile file_;
  std::unique_ptr<Spool> images_;  // image records until finish(), in an unnamed temporary file
  std::string line_;
  bool any_annotation_ = false;
};

/// Writes a list of results, COCO's format for detections, record by record.
class CocoResultsWriter {
 public:
  explicit CocoResultsWriter(const std::filesystem::path& path);
  /// image_id, category_id, bbox, score and the mask.
  void add(const CocoAnnotation& detection, const Rle& mask);
  /// The same without a mask.
  void add(const CocoAnnotation& detection);
  void finish();

 private:
  void add_record(const CocoAnnotation& detection, const Rle* mask);
  AtomicFile file_;
  std::string line_;
  bool any_ = false;
};

/// Writes a whole set.
void write_coco(const std::filesystem::path& path, const AnnotationSet& set);

}  // namespace usol::io

template <>
struct fmt::formatter<usol::io::AnnotationPlace> : usol::detail::ToStringFormatter<usol::io::AnnotationPlace> {};
