#include "usol/pipeline/convert_annotations.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "usol/io/coco.h"
#include "usol/io/coco_subset.h"
#include "usol/io/image.h"
#include "usol/io/json_text.h"
#include "usol/io/mask_picture.h"
#include "usol/io/output_folder.h"
#include "usol/io/picture_path.h"
#include "usol/io/voc.h"
#include "usol/io/yolo.h"
#include "usol/pipeline/inputs.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr std::string_view kYoloNames = "data.yaml";

struct Truth {
  io::AnnotationSet set;
  std::vector<fs::path> files;     // that were read
  std::vector<fs::path> left_out;  // have names of such files and are none
  bool is_voc = true;
};

Truth read_truth(const AnnotationConversion& conversion) {
  const io::CocoReadOptions reading{.image_root = conversion.image_root, .apply_exif = conversion.exif};
  Truth truth;
  for (const std::string& input : conversion.inputs) {
    check(fs::exists(input), ErrorKind::kUsage, "{}: no such file or folder", input);
    if (fs::is_directory(input)) {
      const std::size_t before = truth.files.size();
      for (const auto& entry : fs::recursive_directory_iterator(input)) {
        if (entry.is_directory() || entry.path().extension() != ".xml") continue;
        (entry.is_regular_file() ? truth.files : truth.left_out).push_back(entry.path());
      }
      check(truth.files.size() > before, ErrorKind::kUsage, "{}: holds no .xml files", input);
    } else if (fs::path(input).extension() == ".xml") {
      truth.files.emplace_back(input);
    } else {
      check(conversion.inputs.size() == 1, ErrorKind::kUsage, "{}: a JSON file must be the only input", input);
      truth.files = {input};
      truth.is_voc = false;
      truth.set = io::read_coco(input, reading);
      check(!truth.set.is_results, ErrorKind::kUsage, "{}: expected a data set with images, got a list of results",
            input);
      return truth;
    }
  }
  std::sort(truth.files.begin(), truth.files.end(),
            [](const fs::path& a, const fs::path& b) { return natural_less(a.string(), b.string()); });
  truth.set = io::read_voc(truth.files, reading);
  truth.set.name = conversion.inputs[0];
  return truth;
}

// Difficult objects have come as crowds; VOC files have no others.
void settle_difficult(const Run& run, const std::string& difficult, io::AnnotationSet& set) {
  const auto is_difficult = [](const io::CocoAnnotation& annotation) { return annotation.is_crowd; };
  const auto count = std::count_if(set.annotations.begin(), set.annotations.end(), is_difficult);
  if (count == 0) return;
  if (difficult == "drop") std::erase_if(set.annotations, is_difficult);
  if (difficult == "keep")
    for (io::CocoAnnotation& annotation : set.annotations) annotation.is_crowd = false;
  run.note("{} objects are marked difficult, and are {} (setting difficult)", count,
           difficult == "drop"   ? "left out"
           : difficult == "keep" ? "kept as ordinary ones"
                                 : "crowds, which count neither as right nor as wrong");
}

// Throws Error(kFormat) unless every annotation has a box and an area: what the readers could not complete.
void check_complete(const io::AnnotationSet& set) {
  const io::IdIndex ids = io::index_images(set);
  for (const io::CocoAnnotation& annotation : set.annotations) {
    if (annotation.has_box && annotation.has_area) continue;
    const io::CocoImage& image = set.images[static_cast<std::size_t>(ids.find(annotation.image_id))];
    check(annotation.segmentation.kind == io::Segmentation::Kind::kNone, ErrorKind::kFormat,
          "{}: has no {}, and its image '{}' no height and width to compute it with; image-root says where the "
          "pictures are",
          set.place(annotation), annotation.has_box ? "area" : "box", image.file_name);
    fail(ErrorKind::kFormat, fmt::format("{}: has neither a box nor a mask", set.place(annotation)));
  }
}

// Throws Error(kUsage) if two images would be written to one file, or one outside the folder.
void check_names(const io::AnnotationSet& set) {
  std::map<std::string, std::int64_t> names;
  for (const io::CocoImage& image : set.images) {
    check(!image.file_name.empty(), ErrorKind::kFormat, "image {} has no file name to write its file under", image.id);
    const fs::path name = fs::path(io::portable_name(image.file_name)).lexically_normal().replace_extension();
    check(!name.is_absolute() && (name.empty() || *name.begin() != ".."), ErrorKind::kUsage,
          "image {}: its file name '{}' leaves the output folder", image.id, image.file_name);
    const auto [other, added] = names.emplace(name.generic_string(), image.id);
    check(added, ErrorKind::kUsage, "images {} and {} would be written to one file, '{}'", other->second, image.id,
          other->first);
  }
}

std::string output_of(const io::CocoImage& image, const std::string& extension) {
  return output_path({}, image.file_name, extension).generic_string();
}

void write_json(const Run& run, const AnnotationConversion& conversion, io::AnnotationSet& set,
                const std::string& out) {
  check_complete(set);
  Json info = make_info(run, settings_json(conversion, "gt"));
  const Json source = Json::parse(set.info_json, nullptr, false);
  if (source.is_object()) info["source"] = source;
  set.info_json = io::json_text(info);
  make_folder_of(out);
  io::write_coco(out, set);
}

using Annotations = std::vector<const io::CocoAnnotation*>;

// write(image, its annotations) for every image, whose size must be known.
void for_each_image(const Run& run, const io::AnnotationSet& set,
                    const std::function<void(const io::CocoImage&, const Annotations&)>& write) {
  const std::vector<Annotations> lists = annotations_by_image(set);
  for (std::size_t i = 0; i < set.images.size(); ++i) {
    run.throw_if_stopped();
    const io::CocoImage& image = set.images[i];
    check(image.height > 0 && image.width > 0, ErrorKind::kFormat,
          "{}: image {} ('{}') has no height and width; image-root says where the pictures are", set.name, image.id,
          image.file_name);
    write(image, lists[i]);
  }
}

void note_crowds(const Run& run, const io::AnnotationSet& set) {
  const auto crowds = std::count_if(set.annotations.begin(), set.annotations.end(),
                                    [](const io::CocoAnnotation& annotation) { return annotation.is_crowd; });
  if (crowds > 0) run.note("{} crowds were left out", crowds);
}

void write_pictures(const Run& run, const io::AnnotationSet& set, io::OutputFolder& folder) {
  for_each_image(run, set, [&](const io::CocoImage& image, Annotations annotations) {
    std::erase_if(annotations, [](const io::CocoAnnotation* annotation) { return annotation->is_crowd; });
    const Tensor picture = mask_picture(set, image, annotations);
    folder.write(output_of(image, ".png"), [&](const fs::path& path) { io::write_png(path, picture); });
  });
  note_crowds(run, set);
}

void write_xml(const Run& run, const io::AnnotationSet& set, io::OutputFolder& folder) {
  check_complete(set);
  for_each_image(run, set, [&](const io::CocoImage& image, const Annotations& annotations) {
    folder.write(output_of(image, ".xml"), io::voc_xml(set, image, annotations));
  });
}

void write_labels(const Run& run, const io::AnnotationSet& set, io::OutputFolder& folder) {
  for_each_image(run, set, [&](const io::CocoImage& image, const Annotations& annotations) {
    folder.write(output_of(image, ".txt"), io::yolo_labels(set, image, annotations));
  });
  folder.write(std::string(kYoloNames), io::yolo_names(set));
  note_crowds(run, set);
}

// A format with a file for each image.
struct FolderFormat {
  const char* extension;
  void (*write)(const Run& run, const io::AnnotationSet& set, io::OutputFolder& folder);
};
const std::map<std::string, FolderFormat> kFolderFormats = {
    {"png", {".png", write_pictures}}, {"voc", {".xml", write_xml}}, {"yolo", {".txt", write_labels}}};

}  // namespace

void AnnotationConversion::declare(Settings& settings) {
  settings.group("Truths");
  settings.positional("INPUT", inputs, "A COCO or LVIS JSON file, or VOC XML files and folders of them");
  settings.choice("to", to, {"coco", "png", "voc", "yolo"}, "What is written");
  settings.flag("class-agnostic", class_agnostic, "One category, 'fg', for everything");
  settings.add("subset FILE", subset,
               "Keep the images of this list: one a line, an id or a file name (folders and extension do not matter)",
               OptionKind::kRun);
  settings.choice("difficult", difficult, {"crowd", "keep", "drop"},
                  "Objects that VOC files mark so: crowds, which count neither as right nor as wrong; kept as ordinary "
                  "objects, as LOST's public code counts them in CorLoc; or left out");
  settings.add("image-root DIR", image_root,
               "The pictures, for images whose height and width the truth lacks; of VOC files without it: their own "
               "folder, or JPEGImages beside it",
               OptionKind::kRun);
  settings.flag("no-exif", exif, "Those heights and widths: without turning as cameras note it in their files");
}

int convert_annotations(const Run& run, const AnnotationConversion& conversion, const std::string& out) {
  check(!conversion.inputs.empty(), ErrorKind::kUsage,
        "no input: give a COCO or LVIS JSON file, or VOC XML files or folders");
  const auto format = kFolderFormats.find(conversion.to);
  check(format != kFolderFormats.end() || conversion.to == "coco", ErrorKind::kUsage,
        "to: expected one of coco, png, voc, yolo, got '{}'", conversion.to);
  check(conversion.difficult == "crowd" || conversion.difficult == "keep" || conversion.difficult == "drop",
        ErrorKind::kUsage, "difficult: expected one of crowd, keep, drop, got '{}'", conversion.difficult);
  check(conversion.subset.empty() || fs::exists(conversion.subset), ErrorKind::kUsage, "{}: no such file",
        conversion.subset);
  check(conversion.image_root.empty() || fs::is_directory(conversion.image_root), ErrorKind::kUsage,
        "image-root {}: no such folder", conversion.image_root);
  Truth truth = read_truth(conversion);
  io::AnnotationSet& set = truth.set;
  say_reading(run, set);
  if (!conversion.subset.empty()) keep_listed_images(set, conversion.subset);
  check(truth.is_voc || conversion.difficult == "crowd", ErrorKind::kUsage,
        "difficult {}: {} is no VOC file; a COCO file marks such objects as crowds", conversion.difficult,
        conversion.inputs[0]);
  if (truth.is_voc) settle_difficult(run, conversion.difficult, set);
  if (conversion.class_agnostic) make_class_agnostic(set);

  Outputs outputs(run);
  outputs.reads(conversion.subset);
  for (const fs::path& path : truth.files) outputs.reads(path.string());
  std::string target = out;
  std::optional<io::OutputFolder> folder;
  if (format == kFolderFormats.end()) {
    target = outputs.file("out", out);
  } else {
    check_names(set);
    folder.emplace(out);
    outputs.files("out", *folder, static_cast<std::int64_t>(set.images.size()), [&](std::int64_t i) {
      return output_of(set.images[static_cast<std::size_t>(i)], format->second.extension);
    });
    if (conversion.to == "yolo") outputs.files("out", *folder, 1, [](std::int64_t) { return std::string(kYoloNames); });
  }
  if (run.dry_run) {
    run.note("would write {} images and {} annotations to {}", set.images.size(), set.annotations.size(), target);
    return kSuccess;
  }
  if (folder)
    format->second.write(run, set, *folder);
  else
    write_json(run, conversion, set, target);
  run.note("wrote {}: {} images, {} annotations, {} categories", target, set.images.size(), set.annotations.size(),
           set.categories.size());
  say_left_out(run, truth.left_out);
  return truth.left_out.empty() ? kSuccess : kSomeInputsFailed;
}

}  // namespace usol
