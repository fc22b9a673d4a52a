// usol sweep: MaskCut, and detectors trained on its masks, under many settings, scored against the truth: the paper's
// ablations in one command. Features are computed once for all settings that share them, cuts once for all numbers of
// masks, and masks once for all detectors that learn from them.
#include "usol/eval/sweep.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "usol/cli/sweep_train.h"
#include "usol/cli/verb.h"
#include "usol/eval/coco_eval.h"
#include "usol/eval/match_images.h"
#include "usol/io/atomic_file.h"
#include "usol/io/origin.h"
#include "usol/io/output_folder.h"
#include "usol/io/rle.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/journal.h"
#include "usol/pipeline/maskcut_job.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol::cli {
namespace {

// A point of the sweep: its settings, read and checked like those of a command line.
struct Point {
  eval::SweepPoint choice;
  MaskcutJob work;
  Json settings;  // all of them, as an output's info has them
};

// Cuts that several points share: they differ in the number of masks only, and fewer masks are the first ones.
struct SharedCut {
  maskcut::MaskCutOptions options;                  // with the most masks
  std::vector<std::pair<std::size_t, int>> points;  // and their numbers of masks
};

constexpr const char *kResult = "sweep.json", *kCsv = "sweep.csv", *kMarkdown = "sweep.md";

std::string cut_key(const maskcut::MaskCutOptions& o) {
  return Json({static_cast<int>(o.preset), o.tau, o.size, o.patch, o.native_aspect, o.crf,
               static_cast<int>(o.eigensolver), o.stop_eigenvalue.value_or(-1), o.max_ncut.value_or(-1)})
      .dump();
}

Json to_json(const eval::Metrics& metrics) {
  Json object = Json::object();
  for (const auto& [name, value] : metrics) object[name] = value;
  return object;
}

class SweepVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "MaskCut under many settings, scored against the truth as `usol eval --pseudo-masks` does it. DIR gets a "
        "folder for each point (masks.json, metrics.json) and the results of all as sweep.json, sweep.csv and "
        "sweep.md; `usol report DIR` shows them. Features are computed once for all points that share them (a new "
        "--size, say, needs new ones), and cuts once for all numbers of masks.");
    options.about(
        "With a setting of usol train, or rounds, among the parameters, each point is a detector: trained on the masks "
        "(made once for all points that share them), run on held-out pictures and scored there by usol self-train in "
        "the point's folder. --resume goes on in the step that was interrupted.");
    base_.declare(options, false);
    options.group("The sweep");
    options.add("--param KEY=VALUES", params_,
                "A setting and its values: tau=0.1,0.15,0.2. Any option of usol maskcut or usol train that changes the "
                "result, or rounds; give it once for each setting",
                OptionKind::kRun);
    options.flag("--one-at-a-time", one_at_a_time_,
                 "Vary each setting with the others as they are, instead of all combinations", OptionKind::kRun);
    options.add("--annotations FILE", annotations_, "The truth, COCO JSON; without it masks are only counted",
                OptionKind::kRun);
    options.add("--out DIR", out_, "Folder for the results", OptionKind::kRun);
    training_.declare(options);
    options.example(
        "usol sweep val.json --image-root val2017 --annotations val.json --weights W.pth --one-at-a-time --param "
        "size=240,360,480,640 --param tau=0,0.1,0.15,0.2,0.3 --param masks=2,3,4 --out ablations",
        "The paper's ablations of MaskCut");
    options.example(
        "usol sweep train --weights W.pth --param droploss-iou=0,0.01,0.1,0.2 --train-config "
        "configs/cutler_cascade.toml --train-weights dino_rn50.pth --eval-annotations val.json --eval-image-root val "
        "--out droploss",
        "That of DropLoss: MaskCut once, a detector for each threshold");
    options.example("usol report ablations --out ablations.html", "Their tables and curves");
  }

  int run(const Run& run, const Options& options) override {
    check(!out_.empty(), ErrorKind::kUsage, "--out DIR is missing");
    check(annotations_.empty() || fs::exists(annotations_), ErrorKind::kUsage, "{}: no such file", annotations_);
    std::vector<eval::SweepParameter> parameters;
    for (const std::string& text : params_) parameters.push_back(eval::parse_sweep_parameter(text));
    choices_ = eval::sweep_points(parameters, one_at_a_time_);
    plan(run, options);
    const auto report = base_.pictures.report_at_end(run);
    const fs::path result = fs::path(out_) / kResult;
    run.by_leader([&] {
      check_outputs(run);
      return kSuccess;
    });
    check(run.continues() || run.replaces() || run.dry_run || !fs::exists(result), ErrorKind::kUsage,
          "{} exists; --resume goes on, --force replaces it", result.string());
    io::AnnotationSet truth;
    if (!annotations_.empty()) {
      truth = io::read_coco(annotations_, base_.reading());
      say_reading(run, truth);
      eval::check_truth(truth, eval::IouType::kBox, {.class_agnostic = true});
      if (has_masks(truth)) eval::check_truth(truth, eval::IouType::kMask, {.class_agnostic = true});
    }
    if (trained_) training_.check_data(run);

    int status = make_masks(run);
    if (trained_ && (status == kSuccess || status == kSomeInputsFailed))
      status = std::max(status, training_.run(run, options));
    if (status != kSuccess && status != kSomeInputsFailed) return status;
    if (run.dry_run || !run.leads()) return status;
    write_results(run, annotations_.empty() ? nullptr : &truth);
    return status;
  }
  bool shares_work() const override { return true; }

 private:
  // A folder of a point is ours if it has a file that we wrote.
  static bool is_ours(const fs::path& folder) {
    for (const char* name : {"masks.json", "metrics.json", "manifest.json", SweepTraining::kSettings})
      if (fs::exists(folder / name) && io::written_by_usol(folder / name)) return true;
    return false;
  }

  void check_outputs(const Run& run) {
    Outputs outputs(run, run.existing == Existing::kRefuse ? Existing::kContinue : run.existing);
    const fs::path out = out_;
    InputList inputs;
    if (!base_.inputs.inputs.empty()) inputs = base_.inputs.collect();
    outputs.reads(inputs);
    outputs.reads(base_.inputs.inputs);
    outputs.reads(training_.reads());
    for (const std::string& path : {annotations_, base_.features.weights}) outputs.reads(path);
    outputs.folder("--out", out_);
    outputs.file("--out", (out / kResult).string());
    for (const Point& point : points_) {
      outputs.own_folder(folder(point), is_ours(folder(point)));
      for (const char* name : {"masks.json", "metrics.json"}) outputs.file("--out", (folder(point) / name).string());
    }
    for (const fs::path& path : training_.folders()) {
      outputs.own_folder(path, is_ours(path));
      outputs.file("--out", (path / SweepTraining::kSettings).string());
    }
    // The tables have no place to say whose they are; they are written with sweep.json.
    tables_ = std::make_unique<io::OutputFolder>(out);
    const bool finished = fs::exists(out / kResult) && io::written_by_usol(out / kResult);
    for (const char* name : {kCsv, kMarkdown}) {
      check(finished || tables_->may_write(name), ErrorKind::kUsage,
            "--out {}: {} was not written by usol and is in the way: move it away or choose another folder", out_,
            (out / name).string());
      if (finished && (run.replaces() || run.continues()) && !run.dry_run) fs::remove(out / name);
    }
  }

  void remove_point(const Point& point) const {
    for (const char* name : {"masks.json", "metrics.json"}) remove_output(folder(point) / name);
    std::error_code not_empty;
    fs::remove(folder(point), not_empty);
  }

  fs::path folder(const Point& point) const { return fs::path(out_) / point.choice.name; }

  static Json maskcut_settings() {
    Options own("usol sweep", "sweep", "");
    MaskcutJob work;
    work.declare(own, false);
    return own.settings();
  }

  // The points' masks, and their detectors if there are any.
  void plan(const Run& run, const Options& options) {
    const Json known = maskcut_settings();
    const auto is_maskcuts = [&](const std::string& key) {
      return known.contains(key) || key == "weights" || key == "from-features";
    };
    for (const eval::SweepPoint& choice : choices_)
      for (const auto& [key, value] : choice.settings) {
        check(is_maskcuts(key) || training_.has(key), ErrorKind::kUsage,
              "--param {}: expected an option of usol maskcut that changes the result: {}, weights; or one of usol "
              "train, or rounds",
              key, fmt::join(keys_of(known), ", "));
        trained_ = trained_ || !is_maskcuts(key);
      }
    if (!trained_) {
      check(!training_.has_masks(), ErrorKind::kUsage, "--train-masks is for --param of an option of usol train");
      return make_points(options, choices_);
    }
    std::vector<eval::SweepPoint> of_masks;
    std::vector<std::string> masks;
    for (const eval::SweepPoint& choice : choices_) {
      eval::SweepPoint point;
      for (const auto& setting : choice.settings)
        if (is_maskcuts(setting.first)) point.settings.push_back(setting);
      point.name = point.settings.empty() ? "masks" : eval::sweep_name(point.settings);
      if (training_.has_masks()) {
        check(point.settings.empty(), ErrorKind::kUsage, "--param {}: with --train-masks there is no MaskCut",
              point.name);
        masks.push_back(training_.masks());
        continue;
      }
      masks.push_back((fs::path(out_) / point.name / "masks.json").string());
      if (std::none_of(of_masks.begin(), of_masks.end(), [&](const auto& p) { return p.name == point.name; }))
        of_masks.push_back(std::move(point));
    }
    make_points(options, std::move(of_masks));
    const InputOptions& inputs = base_.inputs;
    training_.plan(run, choices_, options.settings()["preset"], masks, inputs.inputs, inputs.image_root, out_);
  }

  // masks.json of every point of MaskCut.
  int make_masks(const Run& run) {
    // Points by the features they need, in the order of the sweep.
    std::vector<std::pair<std::string, std::vector<std::size_t>>> groups;
    for (std::size_t p = 0; p < points_.size(); ++p) {
      const std::string key = points_[p].work.features_key();
      const auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == key; });
      if (found == groups.end()) {
        groups.push_back({key, {p}});
      } else {
        found->second.push_back(p);
      }
    }
    if (!groups.empty())
      run.note("{} points, features computed {} times for each picture", points_.size(), groups.size());
    int status = kSuccess;
    for (std::size_t g = 0; g < groups.size(); ++g) {
      const int of_group = run_group(run, g, groups[g].second);
      if (of_group != kSuccess && of_group != kSomeInputsFailed) return of_group;
      status = std::max(status, of_group);
    }
    return status;
  }

  void make_points(const Options& options, std::vector<eval::SweepPoint> choices) {
    const Json base = options.settings();
    std::set<std::string> names;
    for (eval::SweepPoint& choice : choices) {
      check(names.insert(choice.name).second, ErrorKind::kUsage, "two points would have the folder {}", choice.name);
      points_.push_back({std::move(choice), base_, nullptr});
      Point& point = points_.back();
      Options own("usol sweep", "sweep", "");
      point.work.declare(own, false);
      std::vector<std::string> arguments;
      const Json known = own.settings();
      for (const auto& [key, value] : base.items()) {
        if (!known.contains(key) || !options.given(key)) continue;
        const bool swept = std::any_of(point.choice.settings.begin(), point.choice.settings.end(),
                                       [&, k = key](const auto& setting) { return setting.first == k; });
        if (!swept)
          arguments.push_back(fmt::format("--{}={}", key, value.is_string() ? value.get<std::string>() : value.dump()));
      }
      for (const auto& [key, value] : point.choice.settings) arguments.push_back(fmt::format("--{}={}", key, value));
      own.parse(arguments);
      point.settings = base;
      const Json settings = own.settings();
      for (const auto& [key, value] : settings.items()) point.settings[key] = value;
    }
  }

  static std::vector<std::string> keys_of(const Json& object) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : object.items()) keys.push_back(key);
    return keys;
  }

  // What says how a point was made.
  static Json point_info(const Json& group_info, const Point& point) {
    Json info = group_info;
    info.erase("points");
    info["settings"] = point.settings;
    if (point.settings.contains("preset")) info["preset"] = point.settings["preset"];
    return info;
  }

  // Points that share features: one pass over the pictures. Its output has the point of each mask as category; it lies
  // in DIR until the points' own files are written.
  int run_group(const Run& run, std::size_t number, const std::vector<std::size_t>& members) {
    MaskcutJob& first = points_[members.front()].work;
    const auto source = first.features.open(run);
    ImageJob job;
    job.inputs = first.inputs.collect();
    if (number == 0) say_reading(run, job.inputs);
    job.output = (fs::path(out_) / fmt::format("cuts-{}.json", number + 1)).string();
    job.info = make_info(run, "{}", first.features.weights_sha256());
    source->describe(job.info);
    job.info["settings"] = points_[members.front()].settings;
    job.info["points"] = Json::array();
    for (const std::size_t p : members) {
      const Point& point = points_[p];
      const auto id = static_cast<std::int64_t>(job.categories.size()) + 1;
      job.categories.push_back({id, point.choice.name, "point"});
      job.info["points"].push_back(point.choice.name);
    }
    if (run.continues() && !run.replaces() && is_done(job, members)) {
      run.note("{} points with these features are done", members.size());
      return kSuccess;
    }
    if (run.replaces() && !run.dry_run && run.leads()) {
      for (const std::size_t p : members) remove_point(points_[p]);
      remove_output(fs::path(out_) / kResult);
    }
    const std::vector<SharedCut> cuts = shared_cuts(members, source->patch());
    job.load = [&](const InputImage& input) -> ImageCompute {
      const Tensor image = first.decode(input);
      const PreparedPicture prepared = source->prepare(input, image);
      return [&, input, image, prepared] { return compute(input, image, source->features(prepared), cuts); };
    };
    const int status = run_image_job(run, job);
    if (run.dry_run || !run.leads() || (status != kSuccess && status != kSomeInputsFailed)) return status;
    split(job, members);
    if (status == kSuccess) fs::remove(job.output);  // else --resume tries the failed pictures again
    return status;
  }

  // The points' categories in the group's file are 1, 2, ... by their place in `members`.
  std::vector<SharedCut> shared_cuts(const std::vector<std::size_t>& members, std::int64_t patch) const {
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

  static ImageResult compute(const InputImage& input, const Tensor& image, const Tensor& features,
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

  // True if all points of the group have their files, of these settings and pictures.
  bool is_done(const ImageJob& job, const std::vector<std::size_t>& members) const {
    for (const std::size_t p : members) {
      const fs::path file = folder(points_[p]) / "masks.json";
      if (!fs::exists(file)) return false;
      Json info = read_info(file);
      if (!info.is_object() || info.contains("failed")) return false;
      Json wanted = point_info(job.info, points_[p]);
      wanted["inputs"] = {{"images", job.inputs.size()}, {"sha256", job.inputs.digest()}};
      info.erase("device");
      const std::string differences = describe_differences(info, wanted);
      check(differences.empty(), ErrorKind::kUsage,
            "--resume: {} was made with other settings ({}); --force replaces it", file.string(), differences);
    }
    return true;
  }

  // The group's file -> masks.json of each point.
  void split(const ImageJob& job, const std::vector<std::size_t>& members) const {
    const io::AnnotationSet all = io::read_coco(job.output);
    const Json info = Json::parse(all.info_json);
    const io::IdIndex images = io::index_images(all);
    for (std::size_t m = 0; m < members.size(); ++m) {
      const Point& point = points_[members[m]];
      fs::create_directories(folder(point));
      io::CocoWriter writer(folder(point) / "masks.json");
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
      writer.finish(categories, point_info(info, point).dump(-1, ' ', false, Json::error_handler_t::replace));
    }
  }

  void write_results(const Run& run, const io::AnnotationSet* truth) const {
    Json sweep;
    sweep["points"] = Json::array();
    for (const Point& point : points_) {
      io::AnnotationSet masks = io::read_coco(folder(point) / "masks.json");
      Json entry = entry_of(point.choice, masks);
      if (truth != nullptr) {
        entry["metrics"] = score(*truth, masks);
        Json metrics = entry["metrics"];
        metrics["info"] = Json::parse(masks.info_json);
        io::write_file(folder(point) / "metrics.json", metrics.dump(1) + "\n");
      }
      sweep["points"].push_back(std::move(entry));
    }
    if (trained_) sweep["points"] = detectors();
    sweep["info"] = make_info(run, "{}", points_.empty() ? "" : points_.front().work.features.weights_sha256());
    sweep["info"]["device"] = device_model(run.device);
    const std::string table = eval::sweep_markdown(sweep);
    tables_->write(kCsv, eval::sweep_csv(sweep));
    tables_->write(kMarkdown, table);
    io::write_file(fs::path(out_) / kResult, sweep.dump(1) + "\n");
    for (std::size_t start = 0; start < table.size();) {
      const std::size_t end = table.find('\n', start);
      run.note("{}", table.substr(start, end - start));
      start = end + 1;
    }
    run.note("wrote {0}/sweep.json, sweep.csv, sweep.md; usol report {0} --out PAGE.html shows them", out_);
  }

  static Json entry_of(const eval::SweepPoint& choice, const io::AnnotationSet& objects) {
    Json entry{{"name", choice.name}, {"settings", Json::object()}};
    for (const auto& [key, value] : choice.settings) entry["settings"][key] = value;
    entry["images"] = objects.images.size();
    entry["objects"] = objects.annotations.size();
    return entry;
  }

  Json detectors() const {
    Json points = Json::array();
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      Json entry = entry_of(choices_[i], io::read_coco(training_.predictions(i)));
      const fs::path path = training_.metrics(i);
      std::ifstream file(path);
      const Json metrics = Json::parse(file, nullptr, false);
      check(metrics.is_object(), ErrorKind::kFormat,
            "{}: no whole JSON object, got a damaged file; if it is removed, --resume scores the detector again",
            path.string());
      for (const char* type : {"box", "mask"})
        if (metrics.contains(type)) entry["metrics"][type] = metrics[type];
      points.push_back(std::move(entry));
    }
    return points;
  }

  static bool has_masks(const io::AnnotationSet& set) {
    return std::any_of(set.annotations.begin(), set.annotations.end(), [](const auto& annotation) {
      return annotation.segmentation.kind != io::Segmentation::Kind::kNone;
    });
  }

  // As usol eval --pseudo-masks.
  static Json score(const io::AnnotationSet& truth, io::AnnotationSet& masks) {
    eval::match_images(truth, masks);
    eval::CocoEvalOptions options;
    options.class_agnostic = true;
    Json metrics;
    metrics["box"] = to_json(eval::evaluate_coco(truth, masks, eval::IouType::kBox, options).metrics);
    if (has_masks(truth))
      metrics["mask"] = to_json(eval::evaluate_coco(truth, masks, eval::IouType::kMask, options).metrics);
    return metrics;
  }

  MaskcutJob base_;
  std::unique_ptr<io::OutputFolder> tables_;  // DIR, for what is no JSON
  std::vector<std::string> params_;
  std::string annotations_, out_;
  bool one_at_a_time_ = false;
  SweepTraining training_;
  bool trained_ = false;                   // the points are detectors
  std::vector<eval::SweepPoint> choices_;  // the points
  std::vector<Point> points_;              // ... of MaskCut
};

const RegisterVerb<SweepVerb> kSweep("sweep",
                                     "MaskCut and detectors under many settings, scored: the paper's ablations");

}  // namespace
}  // namespace usol::cli
