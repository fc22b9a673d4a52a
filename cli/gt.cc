// usol gt: truths from one format to another: COCO, LVIS or VOC in; COCO, mask pictures, VOC or YOLO out.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/cli/signals.h"
#include "usol/cli/verb.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/output_folder.h"
#include "usol/io/picture_path.h"
#include "usol/io/text_lines.h"
#include "usol/io/voc.h"
#include "usol/io/wait.h"
#include "usol/io/yolo.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol::cli {
namespace {

constexpr std::string_view kYoloNames = "data.yaml";

std::string_view last_part(std::string_view path) { return path.substr(path.find_last_of("/\\") + 1); }
std::string_view without_extension(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos || dot == 0 ? name : name.substr(0, dot);
}

// A list of images, one a line: an id, a file name, or the last part of it, with or without extension.
class Subset {
 public:
  explicit Subset(const std::string& path) : path_(path) {
    io::TextLines lines{fs::path(path)};
    for (std::string line; lines.next(line);) {
      while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) line.pop_back();
      if (!line.empty() && line[0] != '#') entries_.emplace(line, false);
    }
    check(!entries_.empty(), ErrorKind::kUsage, "{}: lists no images", path);
    for (const auto& [entry, used] : entries_) short_names_.emplace(without_extension(last_part(entry)), entry);
  }
  bool contains(const io::CocoImage& image) {
    const std::string_view name = without_extension(last_part(image.file_name));
    const auto by_name = short_names_.find(name);
    const auto by_id = entries_.find(fmt::format("{}", image.id));
    if (by_name == short_names_.end() && by_id == entries_.end()) return false;
    (by_name != short_names_.end() ? entries_.find(by_name->second) : by_id)->second = true;
    return true;
  }
  /// Throws Error(kFormat) if an entry stood for no image.
  void check_used() const {
    std::vector<std::string> missing;
    for (const auto& [entry, used] : entries_) {
      if (!used) missing.push_back(entry);
    }
    const std::span listed(missing.data(), std::min<std::size_t>(missing.size(), 5));
    check(missing.empty(), ErrorKind::kFormat, "{}: {} of {} entries stand for no image: {}{}", path_, missing.size(),
          entries_.size(), fmt::join(listed, ", "), missing.size() > listed.size() ? ", ..." : "");
  }

 private:
  std::string path_;
  std::map<std::string, bool, std::less<>> entries_;  // and whether an image used it
  std::map<std::string, std::string, std::less<>> short_names_;
};

void keep_subset(io::AnnotationSet& set, Subset subset) {
  std::set<std::int64_t> kept;
  for (const io::CocoImage& image : set.images) {
    if (subset.contains(image)) kept.insert(image.id);
  }
  subset.check_used();
  std::erase_if(set.images, [&](const io::CocoImage& image) { return !kept.contains(image.id); });
  std::erase_if(set.annotations, [&](const io::CocoAnnotation& a) { return !kept.contains(a.image_id); });
}

void make_class_agnostic(io::AnnotationSet& set) {
  set.categories = {{1, "fg", "fg"}};
  for (io::CocoAnnotation& annotation : set.annotations) {
    annotation.category_id = 1;
    annotation.has_category = true;
  }
}

// Throws Error(kFormat) unless every annotation has a box and an area: what read_coco() could not complete.
void check_complete(const io::AnnotationSet& set) {
  const io::IdIndex ids = io::index_images(set);
  for (const io::CocoAnnotation& annotation : set.annotations) {
    if (annotation.has_box && annotation.has_area) continue;
    const io::CocoImage& image = set.images[static_cast<std::size_t>(ids.find(annotation.image_id))];
    check(annotation.segmentation.kind == io::Segmentation::Kind::kNone, ErrorKind::kFormat,
          "{}: has no {}, and its image '{}' no height and width to compute it with; --image-root DIR says where the "
          "pictures are",
          set.place(annotation), annotation.has_box ? "area" : "box", image.file_name);
    fail(ErrorKind::kFormat, fmt::format("{}: has neither a box nor a mask", set.place(annotation)));
  }
}

// Positions of each image's annotations.
std::vector<std::vector<const io::CocoAnnotation*>> by_image(const io::AnnotationSet& set) {
  const io::IdIndex ids = io::index_images(set);
  std::vector<std::vector<const io::CocoAnnotation*>> lists(set.images.size());
  for (const io::CocoAnnotation& annotation : set.annotations) {
    lists[static_cast<std::size_t>(ids.find(annotation.image_id))].push_back(&annotation);
  }
  return lists;
}

class GtVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Reads a truth (COCO or LVIS JSON, or Pascal VOC's XML files and folders of them), keeps all or a list of its "
        "images, with its own categories or one for everything, and writes it as COCO JSON, as mask pictures (the "
        "union of an image's masks, crowds left out, 0 and 255), as VOC XML, or as YOLO's segmentation labels (one "
        "polygon an object: holes and parts are joined by bridges of no width). Fields that COCO's detection format "
        "does not have are not carried over.");
    options.group("Truths");
    options.positional("INPUT", inputs_, "A COCO or LVIS JSON file, or VOC XML files and folders of them");
    options.add("--out PATH", out_, "The COCO file, or the folder of the other formats' files", OptionKind::kRun);
    options.choice("--to", to_, {"coco", "png", "voc", "yolo"}, "What is written");
    options.flag("--class-agnostic", class_agnostic_, "One category, 'fg', for everything");
    options.add("--subset FILE", subset_,
                "Keep the images of this list: one a line, an id or a file name (folders and extension do not matter)",
                OptionKind::kRun);
    options.add("--image-root DIR", image_root_,
                "The pictures, for images whose height and width the truth lacks; of VOC files without it: their own "
                "folder, or JPEGImages beside it",
                OptionKind::kRun);
    options.flag("--no-exif", exif_, "Those heights and widths: without turning as cameras note it in their files");
    options.example("usol gt instances_val2017.json --class-agnostic --out val2017_fg.json",
                    "COCO's truth with one class");
    options.example("usol gt instances_train2014.json --subset coco_20k.txt --class-agnostic --out coco20k.json",
                    "COCO 20K");
    options.example("usol gt VOC2007/Annotations --subset VOC2007/ImageSets/Main/trainval.txt --out voc07.json",
                    "Pascal VOC 2007 as COCO JSON");
    options.example("usol gt truth.json --to yolo --out labels",
                    "YOLO: labels/NAME.txt, and labels/data.yaml with names");
    options.example("usol gt truth.json --to png --out masks", "Mask pictures, as `usol eval --saliency` reads them");
  }

  int run(const Run& run, const Options&) override {
    check(!inputs_.empty(), ErrorKind::kUsage, "no input: give a COCO or LVIS JSON file, or VOC XML files or folders");
    check(!out_.empty(), ErrorKind::kUsage, "--out PATH is missing");
    check(subset_.empty() || fs::exists(subset_), ErrorKind::kUsage, "{}: no such file", subset_);
    check(image_root_.empty() || fs::is_directory(image_root_), ErrorKind::kUsage, "--image-root {}: no such folder",
          image_root_);
    io::AnnotationSet set = read();
    say_reading(run, set);
    if (!subset_.empty()) keep_subset(set, Subset(subset_));
    if (class_agnostic_) make_class_agnostic(set);
    check_outputs(run, set);
    if (run.dry_run) {
      run.note("would write {} images and {} annotations to {}", set.images.size(), set.annotations.size(), out_);
      return kSuccess;
    }
    if (to_ == "coco") {
      write_json(run, set);
    } else {
      to_ == "png" ? write_pictures(run, set) : to_ == "voc" ? write_xml(run, set) : write_labels(run, set);
    }
    run.note("wrote {}: {} images, {} annotations, {} categories", out_, set.images.size(), set.annotations.size(),
             set.categories.size());
    if (skipped_.empty()) return kSuccess;
    run.warn("{} files were left out, because they are pipes, sockets or devices:", skipped_.size());
    for (const fs::path& path : skipped_) run.list("  " + path.string());
    return kSomeInputsFailed;
  }

 private:
  void check_outputs(const Run& run, const io::AnnotationSet& set) {
    Outputs outputs(run);
    outputs.reads(subset_);
    for (const fs::path& path : read_) outputs.reads(path.string());
    if (to_ == "coco") {
      out_ = outputs.file("--out", out_);
      return;
    }
    check_names(set);
    folder_ = std::make_shared<io::OutputFolder>(out_);
    const std::string extension = to_ == "png" ? ".png" : to_ == "voc" ? ".xml" : ".txt";
    outputs.files("--out", *folder_, static_cast<std::int64_t>(set.images.size()), [&](std::int64_t i) {
      return output_path({}, set.images[static_cast<std::size_t>(i)].file_name, extension).generic_string();
    });
    if (to_ == "yolo") outputs.files("--out", *folder_, 1, [](std::int64_t) { return std::string(kYoloNames); });
  }

  io::AnnotationSet read() {
    std::vector<fs::path> xml;
    for (const std::string& input : inputs_) {
      check(fs::exists(input), ErrorKind::kUsage, "{}: no such file or folder", input);
      if (fs::is_directory(input)) {
        const std::size_t before = xml.size();
        for (const auto& entry : fs::recursive_directory_iterator(input)) {
          if (entry.is_directory() || entry.path().extension() != ".xml") continue;
          (entry.is_regular_file() ? xml : skipped_).push_back(entry.path());
        }
        check(xml.size() > before, ErrorKind::kUsage, "{}: holds no .xml files", input);
      } else if (fs::path(input).extension() == ".xml") {
        xml.emplace_back(input);
      } else {
        check(inputs_.size() == 1, ErrorKind::kUsage, "{}: a JSON file must be the only input", input);
        read_ = {input};
        io::AnnotationSet set = io::read_coco(input, {.image_root = image_root_, .apply_exif = exif_});
        check(!set.is_results, ErrorKind::kUsage, "{}: expected a data set with images, got a list of results", input);
        return set;
      }
    }
    std::sort(xml.begin(), xml.end(),
              [](const fs::path& a, const fs::path& b) { return natural_less(a.string(), b.string()); });
    read_ = xml;
    io::AnnotationSet set = io::read_voc(xml, {.image_root = image_root_, .apply_exif = exif_});
    set.name = inputs_[0];
    return set;
  }

  void write_json(const Run& run, io::AnnotationSet& set) const {
    check_complete(set);
    Json info = make_info(run, "{}");
    const Json source = Json::parse(set.info_json, nullptr, false);
    if (source.is_object()) info["source"] = source;
    set.info_json = info.dump();
    make_folder_of(out_);
    io::write_coco(out_, set);
  }

  static std::string output_of(const io::CocoImage& image, const char* extension) {
    return output_path({}, image.file_name, extension).generic_string();
  }

  // Throws Error(kUsage) if two images would be written to one file, or one outside the folder.
  static void check_names(const io::AnnotationSet& set) {
    std::map<std::string, std::int64_t> names;
    for (const io::CocoImage& image : set.images) {
      check(!image.file_name.empty(), ErrorKind::kFormat, "image {} has no file name to write its file under",
            image.id);
      const fs::path name = fs::path(io::portable_name(image.file_name)).lexically_normal().replace_extension();
      check(!name.is_absolute() && (name.empty() || *name.begin() != ".."), ErrorKind::kUsage,
            "image {}: its file name '{}' leaves the output folder", image.id, image.file_name);
      const auto [other, added] = names.emplace(name.generic_string(), image.id);
      check(added, ErrorKind::kUsage, "images {} and {} would be written to one file, '{}'", other->second, image.id,
            other->first);
    }
  }

  // write(image, its annotations) for every image, whose size is known and whose file is its own.
  template <class Write>
  static void for_each_image(const Run& run, const io::AnnotationSet& set, Write&& write) {
    const auto lists = by_image(set);
    for (std::size_t i = 0; i < set.images.size(); ++i) {
      run.throw_if_stopped();
      const io::CocoImage& image = set.images[i];
      check(image.height > 0 && image.width > 0, ErrorKind::kFormat,
            "{}: image {} ('{}') has no height and width; --image-root DIR says where the pictures are", set.name,
            image.id, image.file_name);
      write(image, lists[i]);
    }
  }

  static void note_crowds(const Run& run, const io::AnnotationSet& set) {
    const auto crowds = std::count_if(set.annotations.begin(), set.annotations.end(),
                                      [](const io::CocoAnnotation& annotation) { return annotation.is_crowd; });
    if (crowds > 0) run.note("{} crowds were left out", crowds);
  }

  void write_pictures(const Run& run, const io::AnnotationSet& set) const {
    for_each_image(run, set, [&](const io::CocoImage& image, const auto& annotations) {
      std::vector<io::Rle> masks = {
          {image.height, image.width, {static_cast<std::uint32_t>(image.height * image.width)}}};
      for (const io::CocoAnnotation* annotation : annotations)
        if (!annotation->is_crowd) masks.push_back(set.rle(*annotation, image.height, image.width));
      Tensor picture = io::rle_decode(io::rle_merge(masks, io::MaskMerge::kUnion));
      auto* pixels = picture.mutable_data<std::uint8_t>();
      for (std::int64_t p = 0; p < picture.numel(); ++p) pixels[p] = static_cast<std::uint8_t>(pixels[p] * 255);
      folder_->write(output_of(image, ".png"), [&](const fs::path& path) { io::write_png(path, picture); });
    });
    note_crowds(run, set);
  }

  void write_xml(const Run& run, const io::AnnotationSet& set) const {
    check_complete(set);
    for_each_image(run, set, [&](const io::CocoImage& image, const auto& annotations) {
      folder_->write(output_of(image, ".xml"), io::voc_xml(set, image, annotations));
    });
  }

  void write_labels(const Run& run, const io::AnnotationSet& set) const {
    for_each_image(run, set, [&](const io::CocoImage& image, const auto& annotations) {
      folder_->write(output_of(image, ".txt"), io::yolo_labels(set, image, annotations));
    });
    folder_->write(std::string(kYoloNames), io::yolo_names(set));
    note_crowds(run, set);
  }

  std::vector<std::string> inputs_;
  std::string out_, to_ = "coco", subset_, image_root_;
  bool class_agnostic_ = false, exif_ = true;
  std::vector<fs::path> read_, skipped_;      // the truth's files, and what has the name of one but is no file
  std::shared_ptr<io::OutputFolder> folder_;  // of the formats with many files
};

const RegisterVerb<GtVerb> kGt("gt", "truths of other formats to class-agnostic COCO, subsets, masks, VOC, YOLO");

}  // namespace
}  // namespace usol::cli
