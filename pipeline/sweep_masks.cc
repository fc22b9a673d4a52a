#include "usol/pipeline/sweep_masks.h"

#include <algorithm>
#include <map>
#include <set>
#include <system_error>
#include <utility>

#include "usol/io/coco.h"
#include "usol/io/json_text.h"
#include "usol/io/rle.h"
#include "usol/pipeline/journal.h"
#include "usol/pipeline/other_preset.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/pipeline/settings.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

// Equal for two points whose cuts differ in their number at most.
std::string cut_key(const maskcut::MaskCutOptions& o) {
  return Json({static_cast<int>(o.preset), o.tau, o.size, o.patch, o.native_aspect, o.crf,
               static_cast<int>(o.eigensolver), o.stop_eigenvalue.value_or(-1), o.max_ncut.value_or(-1)})
      .dump();
}

}  // namespace

MaskSweep::MaskSweep(const Run& run, const MaskcutJob& base, const std::vector<std::string>& given,
                     const std::vector<eval::SweepPoint>& choices, fs::path out)
    : run_(run), out_(std::move(out)) {
  const Json shared = run.settings_json.empty() ? with_run_settings(Json::parse(settings_json(base, "sweep")), run)
                                                : Json::parse(run.settings_json);
  std::set<std::string> names;
  for (const eval::SweepPoint& choice : choices) {
    check(names.insert(choice.name).second, ErrorKind::kUsage, "two points would have the folder {}", choice.name);
    points_.push_back({choice, base, shared});
    Point& point = points_.back();
    for (const auto& [key, value] : choice.settings)
      if (key == "preset") use_preset(point.work, value, given);
    SettingsTable settings("sweep");
    point.work.declare(settings, false);
    settings.set(choice.settings);
    const Json own = settings.settings();
    for (const auto& [key, value] : own.items()) point.settings[key] = value;
  }
}

std::string MaskSweep::weights_sha256() const {
  return points_.empty() ? "" : points_.front().work.features.weights_sha256();
}

// By the features they need, in the order of the sweep.
std::vector<MaskSweep::Members> MaskSweep::groups() const {
  std::vector<Members> groups;
  std::map<std::string, std::size_t> by_key;
  for (std::size_t p = 0; p < points_.size(); ++p) {
    const auto [found, is_new] = by_key.try_emplace(points_[p].work.features_key(), groups.size());
    if (is_new) groups.emplace_back();
    groups[found->second].push_back(p);
  }
  return groups;
}

int MaskSweep::run() {
  const std::vector<Members> all = groups();
  if (!all.empty()) run_.note("{} points, features computed {} times for each picture", points_.size(), all.size());
  int status = kSuccess;
  for (std::size_t g = 0; g < all.size(); ++g) {
    const int group_status = run_group(g, all[g]);
    if (group_status != kSuccess && group_status != kSomeInputsFailed) return group_status;
    status = std::max(status, group_status);
  }
  return status;
}

// One pass over the pictures. Its output has the point of each mask as category; it lies in the sweep's folder until
// the points' own files are written.
int MaskSweep::run_group(std::size_t number, const Members& members) {
  MaskcutJob& first = points_[members.front()].work;
  const auto source = first.features.open(run_);
  for (const std::size_t p : members) settle(points_[p], first.features, *source);
  ImageJob job = group_job(number, members, *source);
  if (run_.continues() && is_done(job, members)) {
    run_.note("{} points with these features are done", members.size());
    return kSuccess;
  }
  if (run_.replaces() && !run_.dry_run && run_.leads()) remove(members);
  const std::vector<SharedCut> cuts = shared_cuts(members, source->patch());
  job.load = [&](const InputImage& input) -> ImageCompute {
    const Tensor image = first.decode(input);
    const PreparedPicture prepared = source->prepare(input, image);
    return [&, input, image, prepared] { return compute(input, image, source->features(prepared), cuts); };
  };
  const int status = run_image_job(run_, job);
  if (run_.dry_run || !run_.leads() || (status != kSuccess && status != kSomeInputsFailed)) return status;
  split(job, members);
  if (status == kSuccess) fs::remove(job.output);  // else a run that goes on tries the failed pictures again
  return status;
}

// What the features decide where the point does not.
void MaskSweep::settle(Point& point, const FeatureOptions& features, const FeatureSource& source) {
  point.work.features.kind = features.kind;
  if (!point.work.tau) point.work.tau = source.usual_tau().tau;
  Json info = {{"settings", point.settings}};
  point.work.record(info);
  point.settings = info["settings"];
}

// All but its `load`. The points' categories are 1, 2, ... by their place in `members`.
ImageJob MaskSweep::group_job(std::size_t number, const Members& members, const FeatureSource& source) {
  const MaskcutJob& first = points_[members.front()].work;
  ImageJob job;
  job.inputs = first.inputs.collect();
  if (number == 0) say_reading(run_, job.inputs);
  job.output = (out_ / fmt::format("cuts-{}.json", number + 1)).string();
  job.info = make_info(run_, io::json_text(points_[members.front()].settings), first.features.weights_sha256());
  source.describe(job.info);
  job.info["settings"] = points_[members.front()].settings;
  job.info["points"] = Json::array();
  for (const std::size_t p : members) {
    const auto id = static_cast<std::int64_t>(job.categories.size()) + 1;
    job.categories.push_back({id, points_[p].choice.name, "point"});
    job.info["points"].push_back(points_[p].choice.name);
  }
  return job;
}

std::vector<MaskSweep::SharedCut> MaskSweep::shared_cuts(const Members& members, std::int64_t patch) const {
  std::vector<SharedCut> cuts;
  std::map<std::string, std::size_t> by_key;
  for (std::size_t m = 0; m < members.size(); ++m) {
    const maskcut::MaskCutOptions options = points_[members[m]].work.cut_options(patch);
    const auto [found, is_new] = by_key.try_emplace(cut_key(options), cuts.size());
    if (is_new) cuts.push_back({options, {}});
    SharedCut& cut = cuts[found->second];
    cut.options.masks = std::max(cut.options.masks, options.masks);
    cut.points.emplace_back(m, options.masks);
  }
  return cuts;
}

ImageResult MaskSweep::compute(const InputImage& input, const Tensor& image, const Tensor& features,
                               const std::vector<SharedCut>& cuts) {
  ImageResult out;
  out.record.image = io::coco_image_json({input.id, image.size(0), image.size(1), input.file_name});
  for (const SharedCut& cut : cuts) {
    const maskcut::MaskCutResult result = maskcut::maskcut(features, image, cut.options);
    for (const maskcut::PseudoMask& mask : result.masks) {
      const io::Rle rle = io::rle_encode(mask.mask);
      io::CocoAnnotation annotation = maskcut_annotation(input.id, mask, rle);
      annotation.id = 1;  // given anew when the file is assembled
      for (const auto& [member, masks] : cut.points) {
        if (mask.stage >= masks) continue;
        annotation.category_id = static_cast<std::int64_t>(member) + 1;
        out.record.annotations.push_back(io::coco_annotation_json(annotation, rle));
      }
    }
  }
  return out;
}

// What says how a point was made.
Json MaskSweep::point_info(const Json& group_info, const Point& point) {
  Json info = group_info;
  info.erase("points");
  info["settings"] = point.settings;
  if (point.settings.contains("preset")) info["preset"] = point.settings["preset"];
  return info;
}

// True if all points of the group have their files, of these settings and pictures.
bool MaskSweep::is_done(const ImageJob& job, const Members& members) const {
  for (const std::size_t p : members) {
    const fs::path file = folder(p) / "masks.json";
    if (!fs::exists(file)) return false;
    Json info = read_info(file);
    if (!info.is_object() || info.contains("failed")) return false;
    Json wanted = point_info(job.info, points_[p]);
    wanted["inputs"] = {{"images", job.inputs.size()}, {"sha256", job.inputs.digest()}};
    info.erase("device");
    const std::string differences = describe_differences(info, wanted);
    check(differences.empty(), ErrorKind::kOtherSettings, "{} was made with other settings: {}", file.string(),
          differences);
  }
  return true;
}

// The group's file -> masks.json of each point.
void MaskSweep::split(const ImageJob& job, const Members& members) const {
  const io::AnnotationSet all = io::read_coco(job.output);
  const Json info = Json::parse(all.info_json);
  const io::IdIndex images = io::index_images(all);
  for (std::size_t m = 0; m < members.size(); ++m) {
    fs::create_directories(folder(members[m]));
    io::CocoWriter writer(folder(members[m]) / "masks.json");
    for (const io::CocoImage& image : all.images) writer.add_image(image);
    std::int64_t id = 0;
    for (io::CocoAnnotation annotation : all.annotations) {
      if (annotation.category_id != static_cast<std::int64_t>(m) + 1) continue;
      annotation.category_id = 1;
      annotation.id = ++id;
      const io::CocoImage& image = all.images[static_cast<std::size_t>(images.find(annotation.image_id))];
      writer.add_annotation(annotation, all.rle(annotation, image.height, image.width));
    }
    const std::vector<io::CocoCategory> categories = {{1, "fg", "fg"}};
    writer.finish(categories, io::json_text(point_info(info, points_[members[m]])));
  }
}

void MaskSweep::remove(const Members& members) const {
  for (const std::size_t p : members) {
    for (const char* name : {"masks.json", "metrics.json"}) remove_output(folder(p) / name);
    std::error_code not_empty;
    fs::remove(folder(p), not_empty);
  }
  remove_output(out_ / "sweep.json");
}

}  // namespace usol
