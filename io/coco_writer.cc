// Writing COCO JSON record by record, one record a line.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "usol/io/atomic_file.h"
#include "usol/io/coco.h"
#include "usol/io/coco_record.h"
#include "usol/io/json_text.h"
#include "usol/io/output_target.h"
#include "usol/tensor/check.h"

namespace usol::io {

namespace {

void add_key(std::string& line, std::string_view key) {
  line += line.back() == '{' ? "\"" : ", \"";
  line.append(key).append("\": ");
}

void add_number(std::string& line, std::string_view key, auto value) {
  add_key(line, key);
  append_json_number(line, value);
}

void add_string(std::string& line, std::string_view key, std::string_view value) {
  add_key(line, key);
  append_json_string(line, value);
}

void add_list(std::string& line, std::span<const double> values) {
  line += '[';
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) line += ", ";
    append_json_number(line, values[i]);
  }
  line += ']';
}

void add_box(std::string& line, const Box& box) {
  add_key(line, "bbox");
  add_list(line, box);
}

void add_rle(std::string& line, std::int64_t height, std::int64_t width, std::string_view counts) {
  add_key(line, "segmentation");
  line += "{\"size\": [";
  append_json_number(line, height);
  line += ", ";
  append_json_number(line, width);
  line += "], \"counts\": ";
  append_json_string(line, counts);
  line += '}';
}

void add_polygons(std::string& line, std::span<const std::vector<double>> polygons) {
  add_key(line, "segmentation");
  line += '[';
  for (std::size_t i = 0; i < polygons.size(); ++i) {
    if (i > 0) line += ", ";
    add_list(line, polygons[i]);
  }
  line += ']';
}

void start_record(std::string& line) {
  line.clear();
  line += '{';
}

// Everything before the mask.
void start_annotation(std::string& line, const CocoAnnotation& annotation) {
  start_record(line);
  add_number(line, "id", annotation.id);
  add_number(line, "image_id", annotation.image_id);
  add_number(line, "category_id", annotation.category_id);
  add_number(line, "iscrowd", static_cast<std::int64_t>(annotation.is_crowd));
  add_number(line, "area", annotation.area);
  add_box(line, annotation.box);
  if (annotation.has_score) add_number(line, "score", annotation.score);
}

void write_record(std::string& line, const CocoImage& image) {
  start_record(line);
  add_number(line, "id", image.id);
  add_string(line, "file_name", image.file_name);
  add_number(line, "height", image.height);
  add_number(line, "width", image.width);
  line += '}';
}

void write_record(std::string& line, const CocoAnnotation& annotation, const Rle& mask) {
  start_annotation(line, annotation);
  if (!mask.counts.empty()) {
    add_rle(line, mask.height, mask.width, rle_to_string(mask));
    add_number(line, "width", mask.width);
    add_number(line, "height", mask.height);
  }
  line += '}';
}

void write_record(std::string& line, const CocoAnnotation& annotation, const AnnotationSet& set) {
  const Segmentation& segmentation = annotation.segmentation;
  start_annotation(line, annotation);
  if (segmentation.kind == Segmentation::Kind::kRle) {
    add_rle(line, segmentation.height, segmentation.width, set.arena.view(segmentation.bytes));
  } else if (segmentation.kind == Segmentation::Kind::kPolygons) {
    add_polygons(line, set.polygons(segmentation));
  }
  line += '}';
}

}  // namespace

std::string coco_image_json(const CocoImage& image) {
  std::string line;
  write_record(line, image);
  return line;
}

std::string coco_annotation_json(const CocoAnnotation& annotation, const Rle& mask) {
  std::string line;
  write_record(line, annotation, mask);
  return line;
}

std::string coco_annotation_json(const CocoAnnotation& annotation, const AnnotationSet& set) {
  std::string line;
  write_record(line, annotation, set);
  return line;
}

// Image records wait here, outside memory, while annotations go straight to the file. The file is nameless and lies
// beside the output, where the room is: /tmp is small, or memory, on many machines. An output that is a pipe has no
// such place.
struct CocoWriter::Spool {
  std::FILE* file = nullptr;
  bool any = false;

  explicit Spool(const std::filesystem::path& output) {
    const OutputTarget target = output_target(output);
    const std::filesystem::path folder =
        target.is_stream() ? std::filesystem::temp_directory_path() : target.path.parent_path();
    std::string name = folder / hidden_name(target.path.filename().string(), ".XXXXXX.tmp");
    if (const int fd = ::mkostemps(name.data(), 4, O_CLOEXEC); fd >= 0) {
      ::unlink(name.c_str());
      file = ::fdopen(fd, "w+b");
      if (file == nullptr) ::close(fd);
    } else {
      file = std::tmpfile();
    }
    check(file != nullptr, ErrorKind::kIo, "CocoWriter: cannot make a temporary file: {}", std::strerror(errno));
  }
  ~Spool() { std::fclose(file); }
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  void write(std::string_view text) {
    const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();  // first: errno is an argument
    check(written, ErrorKind::kIo, "CocoWriter: cannot write a temporary file: {}", std::strerror(errno));
  }
  void copy_to(AtomicFile& out) {
    const bool rewound = std::fflush(file) == 0 && std::fseek(file, 0, SEEK_SET) == 0;
    check(rewound, ErrorKind::kIo, "CocoWriter: cannot write a temporary file: {}", std::strerror(errno));
    std::array<char, 1 << 16> buffer;
    while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), file)) {
      out.write(std::string_view(buffer.data(), n));
    }
    check(std::ferror(file) == 0, ErrorKind::kIo, "CocoWriter: cannot read a temporary file: {}", std::strerror(errno));
  }
};

CocoWriter::CocoWriter(const std::filesystem::path& path) : file_(path), images_(std::make_unique<Spool>(path)) {
  file_.write("{\"annotations\": [");
}

CocoWriter::~CocoWriter() = default;

void CocoWriter::add_image(const CocoImage& image) {
  write_record(line_, image);
  add_image_json(line_);
}

void CocoWriter::add_image_json(std::string_view record) {
  images_->write(images_->any ? ",\n" : "\n");
  images_->write(record);
  images_->any = true;
}

void CocoWriter::add_annotation(const CocoAnnotation& annotation, const Rle& mask) {
  write_record(line_, annotation, mask);
  add_annotation_json(line_);
}

void CocoWriter::add_annotation(const CocoAnnotation& annotation, const AnnotationSet& set) {
  write_record(line_, annotation, set);
  add_annotation_json(line_);
}

void CocoWriter::add_annotation_json(std::string_view record) {
  file_.write(any_annotation_ ? ",\n" : "\n");
  file_.write(record);
  any_annotation_ = true;
}

void CocoWriter::finish(std::span<const CocoCategory> categories, std::string_view info_json,
                        std::string_view licenses_json) {
  file_.write("\n],\n\"images\": [");
  images_->copy_to(file_);
  file_.write("\n],\n\"categories\": [");
  for (std::size_t i = 0; i < categories.size(); ++i) {
    start_record(line_);
    add_number(line_, "id", categories[i].id);
    add_string(line_, "name", categories[i].name);
    add_string(line_, "supercategory", categories[i].supercategory);
    line_ += '}';
    file_.write(i > 0 ? ",\n" : "\n");
    file_.write(line_);
  }
  file_.write("\n]");
  if (!licenses_json.empty()) {
    file_.write(",\n\"licenses\": ");
    file_.write(licenses_json);
  }
  if (!info_json.empty()) {
    file_.write(",\n\"info\": ");
    file_.write(info_json);
  }
  file_.write("}\n");
  file_.commit();
}

CocoResultsWriter::CocoResultsWriter(const std::filesystem::path& path) : file_(path) { file_.write("["); }

void CocoResultsWriter::add(const CocoAnnotation& detection, const Rle& mask) { add_record(detection, &mask); }

void CocoResultsWriter::add(const CocoAnnotation& detection) { add_record(detection, nullptr); }

void CocoResultsWriter::add_record(const CocoAnnotation& detection, const Rle* mask) {
  start_record(line_);
  add_number(line_, "image_id", detection.image_id);
  add_number(line_, "category_id", detection.category_id);
  add_box(line_, detection.box);
  add_number(line_, "score", detection.score);
  if (mask != nullptr) add_rle(line_, mask->height, mask->width, rle_to_string(*mask));
  line_ += '}';
  file_.write(any_ ? ",\n" : "\n");
  file_.write(line_);
  any_ = true;
}

void CocoResultsWriter::finish() {
  file_.write("\n]\n");
  file_.commit();
}

void write_coco(const std::filesystem::path& path, const AnnotationSet& set) {
  CocoWriter writer(path);
  for (const CocoImage& image : set.images) writer.add_image(image);
  for (const CocoAnnotation& annotation : set.annotations) writer.add_annotation(annotation, set);
  writer.finish(set.categories, set.info_json, set.licenses_json);
}

}  // namespace usol::io
