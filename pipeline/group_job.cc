#include "usol/pipeline/group_job.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "usol/eval/clusters.h"
#include "usol/io/coco.h"
#include "usol/io/coco_record.h"
#include "usol/io/image.h"
#include "usol/io/json_text.h"
#include "usol/io/safetensors.h"
#include "usol/io/sha256.h"
#include "usol/io/whole_pixels.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/pipeline/vector_file.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {

// The settings that the descriptions depend on: another number of groups takes the same ones.
struct GroupDescription {
  GroupJob job;
  void declare(Settings& settings) { job.declare_description(settings); }
};

namespace {

// Whole pixels of a box inside a picture, at least one.
io::Rle box_mask(const io::Box& box, std::int64_t height, std::int64_t width) {
  const io::PixelSpan x = io::whole_pixels(box[0], box[2], width), y = io::whole_pixels(box[1], box[3], height);
  Tensor mask = Tensor::zeros({height, width}, DType::kU8);
  mask.slice(0, y.first, y.end).slice(1, x.first, x.end).fill(1);
  return io::rle_encode(mask);
}

// How many of the mask's pixels have their centre in each patch of a grid of h x w over the picture, row-major.
std::vector<double> pixels_in_patches(const io::Rle& mask, std::int64_t h, std::int64_t w) {
  std::vector<double> counts(static_cast<std::size_t>(h * w));
  std::int64_t position = 0;
  for (std::size_t run = 0; run < mask.counts.size(); ++run) {
    const std::int64_t end = position + mask.counts[run];
    if (run % 2 == 1)
      for (std::int64_t p = position; p < end; ++p) {
        const std::int64_t x = p / mask.height, y = p % mask.height;
        const std::int64_t column = (2 * x + 1) * w / (2 * mask.width), row = (2 * y + 1) * h / (2 * mask.height);
        ++counts[static_cast<std::size_t>(row * w + column)];
      }
    position = end;
  }
  return counts;
}

void append_at_unit_length(std::vector<float>& to, const std::vector<double>& values) {
  double square = 0;
  for (const double value : values) square += value * value;
  const double length = square > 0 ? std::sqrt(square) : 1;
  for (const double value : values) to.push_back(static_cast<float>(value / length));
}

// The mean of the features [D, h, w] over the mask's pixels, at unit length.
void append_pooled(std::vector<float>& to, const Tensor& features, const io::Rle& mask) {
  const std::int64_t dim = features.size(0), patches = features.size(1) * features.size(2);
  const std::vector<double> counts = pixels_in_patches(mask, features.size(1), features.size(2));
  std::vector<double> sum(static_cast<std::size_t>(dim));
  const float* f = features.data<float>();
  for (std::int64_t p = 0; p < patches; ++p) {
    const double count = counts[static_cast<std::size_t>(p)];
    if (count == 0) continue;
    for (std::int64_t d = 0; d < dim; ++d)
      sum[static_cast<std::size_t>(d)] += count * static_cast<double>(f[d * patches + p]);
  }
  append_at_unit_length(to, sum);
}

// The objects of each input picture, by their positions in the set.
class ObjectsOfPictures {
 public:
  ObjectsOfPictures(const io::AnnotationSet& set, const InputList& inputs) : first_{0} {
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < inputs.size(); ++i) ids.push_back(inputs.id(i));
    by_id_ = io::IdIndex(std::move(ids));
    std::vector<std::pair<std::int64_t, std::int64_t>> pairs;
    for (std::size_t a = 0; a < set.annotations.size(); ++a) {
      const io::CocoAnnotation& annotation = set.annotations[a];
      if (annotation.is_crowd) continue;
      const std::int64_t picture = by_id_.find(annotation.image_id);
      check(picture >= 0, ErrorKind::kFormat, "{}.image_id: {} is no image of the list of images",
            set.place(annotation), annotation.image_id);
      pairs.emplace_back(picture, static_cast<std::int64_t>(a));
    }
    std::sort(pairs.begin(), pairs.end());
    std::size_t next = 0;
    for (std::int64_t i = 0; i < inputs.size(); ++i) {
      for (; next < pairs.size() && pairs[next].first == i; ++next) order_.push_back(pairs[next].second);
      first_.push_back(order_.size());
    }
  }

  std::vector<std::int64_t> of(std::int64_t picture) const {
    const auto i = static_cast<std::size_t>(picture);
    return {order_.begin() + static_cast<std::ptrdiff_t>(first_[i]),
            order_.begin() + static_cast<std::ptrdiff_t>(first_[i + 1])};
  }
  std::vector<std::int64_t> of(const InputImage& input) const { return of(by_id_.find(input.id)); }

 private:
  io::IdIndex by_id_;
  std::vector<std::size_t> first_;
  std::vector<std::int64_t> order_;
};

class Grouper {
 public:
  Grouper(const Run& run, const GroupJob& job, const GroupOutputs& outputs)
      : run_(run),
        job_(job),
        out_(outputs.coco),
        folder_(outputs.vectors.empty() ? outputs.coco + ".vectors" : outputs.vectors),
        features_(job.features) {}

  int work() {
    check(!is_stream_output(named_output(out_)) || folder_ != out_ + ".vectors", ErrorKind::kUsage,
          "out {}: is no regular file, so vectors must name a folder for the descriptions", out_);
    for (const std::string& path : {job_.objects, job_.image_list})
      check(path.empty() || fs::exists(path), ErrorKind::kUsage, "{}: no such file", path);
    const std::string list = job_.image_list.empty() ? job_.objects : job_.image_list;
    inputs_ = InputOptions{{list}, job_.image_root}.collect();
    objects_sha256_ = io::sha256_file(job_.objects);
    set_ = io::read_coco(job_.objects, {.image_root = job_.image_root, .apply_exif = job_.pictures.exif});
    check(!set_.is_results || !job_.image_list.empty(), ErrorKind::kUsage,
          "{}: a list of results names no pictures: give the COCO file that does as image-list", job_.objects);
    if (run_.leads()) say_reading(run_, set_);
    objects_.emplace(set_, inputs_);
    Outputs outputs(run_);
    outputs.reads(inputs_);
    outputs.reads({job_.objects, job_.image_list, job_.features.weights});
    out_ = outputs.file("out", out_);
    const int status = describe();
    if (run_.dry_run || (status != kSuccess && status != kSomeInputsFailed)) return status;
    run_.by_leader([&] {
      group();
      return 0;
    });
    return status;
  }

 private:
  std::string list_path() const { return (fs::path(folder_) / "vectors.json").string(); }

  // Descriptions of the same settings are taken as they are; those of others are replaced, or an error, as the run
  // says.
  int describe() {
    Run run = run_;
    GroupDescription description{job_};
    run.settings_json = settings_json(description, "group");
    if (run_.existing == Existing::kRefuse && !fs::exists(list_path())) return describe(run);
    run.existing = Existing::kContinue;
    try {
      return describe(run);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kOtherSettings || !run_.replaces()) throw;
    }
    run.existing = Existing::kReplace;
    return describe(run);
  }

  int describe(const Run& run) {
    ImageJob job;
    job.inputs = inputs_;
    check_output_paths(job.inputs);
    if (!source_) {
      source_ = features_.open(run);
      check(job_.describe == "mask" || source_->has_class_token(), ErrorKind::kUsage,
            "describe {}: these features have no class token; describe by mask, or give a vision transformer's weights "
            "(scripts/download-weights fetches them)",
            job_.describe);
    }
    job.output = list_path();
    job.reads = {job_.objects, job_.image_list, job_.features.weights};
    const auto files = job.add_folder(run, "vectors", folder_, ".safetensors");
    job.info = info(run, run.settings_json);
    job.load = [&, files](const InputImage& input) -> ImageCompute {
      const std::vector<std::int64_t> records = objects_->of(input);
      io::CocoImage about{input.id, 0, 0, input.file_name};
      if (records.empty()) return [about] { return ImageResult{{io::coco_image_json(about), {}}, {}, 0}; };
      const Tensor image = io::decode_image(input.path, job_.pictures.decode());
      about.height = image.size(0);
      about.width = image.size(1);
      PreparedPicture prepared = source_->prepare(input, image);
      return [&, files, about, image, records, prepared = std::move(prepared)] {
        return describe_picture(*files, about, image, records, prepared);
      };
    };
    return run_image_job(run, job);
  }

  ImageResult describe_picture(io::OutputFolder& files, const io::CocoImage& about, const Tensor& image,
                               const std::vector<std::int64_t>& records, const PreparedPicture& prepared) const {
    Tensor features;
    if (job_.describe != "crop") features = source_->features(prepared).to(Device::cpu()).contiguous();
    std::vector<float> vectors;
    for (const std::int64_t record : records) {
      const io::CocoAnnotation& object = set_.annotations[static_cast<std::size_t>(record)];
      const auto begin = static_cast<std::ptrdiff_t>(vectors.size());
      if (features.defined()) append_pooled(vectors, features, mask_of(object, about));
      if (job_.describe != "mask") {
        const std::vector<float> token =
            source_->class_token(image, box_of(object, about), {.short_px = job_.crop_px}).to_vector<float>();
        vectors.insert(vectors.end(), token.begin(), token.end());
      }
      if (is_empty(object, about)) std::fill(vectors.begin() + begin, vectors.end(), 0.0f);  // so it is in no group
    }
    const auto n = static_cast<std::int64_t>(records.size());
    const std::map<std::string, Tensor> tensors{
        {"records", Tensor::from(records, {n})},
        {"vectors", Tensor::from(vectors, {n, static_cast<std::int64_t>(vectors.size()) / n})}};
    ImageResult result{{io::coco_image_json(about), {}}, {}, 4 * vectors.size() + 8 * records.size()};
    result.save = [&files, tensors, name = about.file_name] {
      files.write(output_path({}, name, ".safetensors").generic_string(),
                  [&](const fs::path& path) { io::save_safetensors(path, tensors, {}); });
    };
    return result;
  }

  // True of an object without a single pixel.
  bool is_empty(const io::CocoAnnotation& object, const io::CocoImage& image) const {
    if (object.has_box && object.box[2] > 0 && object.box[3] > 0) return false;
    return object.segmentation.kind == io::Segmentation::Kind::kNone ||
           io::rle_area(set_.rle(object, image.height, image.width)) == 0;
  }

  // What the object covers; an object without a mask, or whose mask is empty, its box.
  io::Rle mask_of(const io::CocoAnnotation& object, const io::CocoImage& image) const {
    if (object.segmentation.kind != io::Segmentation::Kind::kNone) {
      io::Rle mask = set_.rle(object, image.height, image.width);
      if (io::rle_area(mask) > 0) return mask;
    }
    check(object.has_box, ErrorKind::kFormat, "{}: expected a mask or a box", set_.place(object));
    return box_mask(object.box, image.height, image.width);
  }

  io::Box box_of(const io::CocoAnnotation& object, const io::CocoImage& image) const {
    return object.has_box ? object.box : io::rle_to_box(mask_of(object, image));
  }

  // ---- the second half: one process ----

  void group() {
    make_folder_of(out_);
    VectorFile vectors(out_);
    std::vector<std::int64_t> records;  // of each vector, in the order of pictures
    std::set<std::int64_t> described;   // the other pictures failed, which was said
    for (const io::CocoImage& image : io::read_coco(list_path(), {.annotations = false}).images)
      described.insert(image.id);
    for (std::int64_t i = 0; i < inputs_.size(); ++i) {
      run_.throw_if_stopped();
      if (objects_->of(i).empty() || !described.contains(inputs_.id(i))) continue;
      const fs::path path = output_path(folder_, inputs_.file_name(i), ".safetensors");
      const char* remedy = "delete that list, and the objects are described again";
      check(fs::exists(path), ErrorKind::kIo, "{} is missing, which {} lists: {}", path.string(), list_path(), remedy);
      const auto tensors = io::load_safetensors(path);
      const auto rows = tensors.at("vectors").to_vector<float>();
      const auto of_picture = tensors.at("records").to_vector<std::int64_t>();
      check(of_picture == objects_->of(i), ErrorKind::kFormat, "{} describes other objects than those of {}: {}",
            path.string(), inputs_.file_name(i), remedy);
      vectors.add(rows, tensors.at("vectors").size(1));
      records.insert(records.end(), of_picture.begin(), of_picture.end());
    }
    check(!records.empty(), ErrorKind::kUsage, "{}: there are no objects to group", job_.objects);
    maskcut::GroupOptions options = job_.groups;
    options.how = job_.method == "agglomerate" ? maskcut::Grouping::kAgglomerate : maskcut::Grouping::kKmeans;
    options.seed = run_.seed;
    run_.note("grouping {} objects", records.size());
    maskcut::Rows rows = vectors.rows();
    rows.read = [this, read = std::move(rows.read)](std::int64_t first, std::int64_t count, float* to) {
      run_.throw_if_stopped();  // grouping a million objects takes minutes
      read(first, count, to);
    };
    const maskcut::FoundGroups found = maskcut::find_groups(rows, options);
    for (const auto& [number, silhouette] : found.silhouettes)
      run_.detail("{} groups: mean silhouette {:.4f}", number, silhouette);
    write(records, found);
    const auto count = static_cast<std::int64_t>(records.size());
    run_.note("wrote {}: {} objects in {} groups, and {} in none", out_, count - found.left_out.all(), found.groups,
              found.left_out.all());
    say_left_out(options, count, found);
  }

  // Which objects are in no group, and why; a warning with a remedy where they are most of them.
  void say_left_out(const maskcut::GroupOptions& options, std::int64_t objects,
                    const maskcut::FoundGroups& found) const {
    const maskcut::LeftOut& left = found.left_out;
    const bool kmeans = options.how == maskcut::Grouping::kKmeans;
    if (kmeans && options.groups > objects)
      run_.note("groups {}: there are {} objects, and no more groups than these", options.groups, objects);
    struct Reason {
      std::int64_t objects;
      std::string what, remedy;
    };
    const std::string fewer = !kmeans               ? "a larger threshold"
                              : options.groups == 0 ? "a smaller most-groups"
                                                    : "fewer groups";
    std::vector<Reason> reasons{
        {left.blank, "without a pixel, or without features there", "other features, or describe by crop"},
        {left.dissimilar, fmt::format("by least-similarity {}", options.least_similarity), "a smaller one"},
        {left.ambiguous, fmt::format("by least-margin {}", options.least_margin), "a smaller one, or " + fewer},
        {left.outlying, fmt::format("by deviations {}", options.deviations), "more, or 0 for any"},
        {left.of_small_groups, fmt::format("in groups of fewer than least-size {}", found.least_size),
         fmt::format("{}, or least-size 1", fewer)}};
    std::erase_if(reasons, [](const Reason& reason) { return reason.objects == 0; });
    std::vector<std::string> parts;
    for (const Reason& reason : reasons) parts.push_back(fmt::format("{} {}", reason.objects, reason.what));
    if (!parts.empty()) run_.note("in none: {}", fmt::join(parts, ", "));
    if (2 * left.all() <= objects) return;
    const Reason& most = *std::max_element(reasons.begin(), reasons.end(),
                                           [](const Reason& a, const Reason& b) { return a.objects < b.objects; });
    run_.warn("{} of {} objects are in no group, {} of them {}: try {}", left.all(), objects, most.objects, most.what,
              most.remedy);
  }

  void write(const std::vector<std::int64_t>& records, const maskcut::FoundGroups& found) const {
    io::CocoWriter writer(out_);
    std::vector<std::size_t> order(records.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return records[a] < records[b]; });
    std::int64_t id = 0;
    for (const std::size_t i : order) {
      run_.throw_if_stopped();
      const std::int64_t label = found.labels[i];
      io::CocoAnnotation object = set_.annotations[static_cast<std::size_t>(records[i])];
      object.id = ++id;
      object.category_id = (label == maskcut::kNoGroup ? found.groups : label) + 1;
      std::string line = io::coco_annotation_json(object, set_);
      line.pop_back();  // }
      line += fmt::format(", \"group\": {}, \"similarity\": {:.6f}, \"margin\": {:.6f}}}", label + 1,
                          found.similarity[i], found.margin[i]);
      writer.add_annotation_json(line);
    }
    const io::AnnotationSet* images = &set_;
    io::AnnotationSet listed;
    if (set_.is_results) {
      listed = io::read_coco(job_.image_list,
                             {.annotations = false, .image_root = job_.image_root, .apply_exif = job_.pictures.exif});
      images = &listed;
    }
    for (const io::CocoImage& image : images->images) writer.add_image(image);
    std::vector<io::CocoCategory> categories;
    for (std::int64_t g = 1; g <= found.groups; ++g) categories.push_back({g, fmt::format("group {}", g), "group"});
    categories.push_back({found.groups + 1, eval::kNoGroup, eval::kNoGroup});
    writer.finish(categories, io::json_text(info(found)));
  }

  // What the objects are and what describes them; `own`: the settings, where the run has none.
  Json info(const Run& run, const std::string& own) const {
    Json info = make_info(run, own, features_.weights_sha256());
    source_->describe(info);
    features_.record(info);
    info["objects_sha256"] = objects_sha256_;
    return info;
  }

  Json info(const maskcut::FoundGroups& found) const {
    Json info = this->info(run_, settings_json(job_, "group"));
    info["groups"] = found.groups;
    if (!found.silhouettes.empty()) {
      Json& silhouettes = info["silhouettes"] = Json::object();
      for (const auto& [number, silhouette] : found.silhouettes) silhouettes[std::to_string(number)] = silhouette;
    }
    return info;
  }

  const Run& run_;
  const GroupJob& job_;
  std::string out_, folder_, objects_sha256_;
  FeatureOptions features_;
  InputList inputs_;
  io::AnnotationSet set_;
  std::optional<ObjectsOfPictures> objects_;
  std::unique_ptr<FeatureSource> source_;
};

}  // namespace

void GroupOutputs::declare(Settings& settings) {
  settings.group("Output");
  settings.add("out FILE", coco, "The COCO file to write", OptionKind::kRun);
  settings.add("vectors DIR", vectors,
               "Folder of the objects' descriptions, which another grouping of the same objects takes as they are. "
               "Without it FILE.vectors",
               OptionKind::kRun);
}

void GroupJob::declare_description(Settings& settings) {
  settings.group("Description");
  settings.choice("describe", describe, {"mask", "crop", "both"},
                  "An object is described by the mean of the picture's features over its mask, by the class token of a "
                  "vision transformer on its crop, or by both, one behind the other");
  settings.add("crop-size PX", crop_px, "Shorter side to which a crop is resized").between(8, 4096);
  features.declare(settings);
  pictures.declare(settings);
}

void GroupJob::declare(Settings& settings) {
  settings.group("Files");
  settings.add("image-list FILE", image_list, "COCO file that names the images of a list of results", OptionKind::kRun);
  settings.add("image-root DIR", image_root, "Folder of the pictures", OptionKind::kRun);
  declare_description(settings);
  settings.group("Groups");
  settings.choice(
      "method", method, {"kmeans", "agglomerate"},
      "kmeans: spherical k-means. agglomerate: average linkage up to a distance, which says how many groups "
      "there are");
  settings.flag("whiten", groups.whiten,
                "Each number of the descriptions is divided by its standard deviation first, as LOST does with class "
                "tokens of crops");
  settings.when("method", "kmeans", [this](Settings& of_kmeans) {
    of_kmeans
        .add("groups N", groups.groups,
             "How many groups. 0: the number of largest mean silhouette among 2, 3, 4, 6, 8, 12, 16, ...")
        .at_least(0);
    of_kmeans.add("most-groups N", groups.most_groups, "... up to this").between(2, 10000);
    of_kmeans.add("starts N", groups.starts, "Runs from other first centres, of which the best is kept")
        .between(1, 1000);
  });
  settings.when("method", "agglomerate", [this](Settings& of_agglomeration) {
    of_agglomeration
        .add("threshold DISTANCE", groups.threshold,
             "Groups are joined while the mean of 1 - cosine over their pairs is less than this")
        .between(0, 2);
  });
  settings.group("Objects of no group");
  settings
      .add("least-similarity COSINE", groups.least_similarity,
           "Objects less similar to their group's centre are in none")
      .between(-1, 1);
  settings
      .add("least-margin COSINE", groups.least_margin,
           "... and those whose similarity exceeds that with the next group's centre by less than this (-2: any)")
      .between(-2, 2);
  settings
      .add("deviations N", groups.deviations,
           "... and those whose similarity is lower than their group's mean by more than so many standard deviations; "
           "0: "
           "any")
      .at_least(0);
  settings
      .add(
          "least-size N", groups.least_size,
          "Groups of fewer objects are none. 0: of fewer than two, but where more groups are asked for than could have "
          "two objects each")
      .at_least(0);
}

int GroupJob::run(const Run& run, const GroupOutputs& outputs) const {
  const auto report = pictures.report_at_end(run);
  return Grouper(run, *this, outputs).work();
}

}  // namespace usol
