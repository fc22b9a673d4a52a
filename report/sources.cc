#include "usol/report/sources.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <string_view>
#include <utility>

#include "usol/io/json_stream.h"
#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol::report {
namespace {

enum class Content { kRun, kTraining, kMetrics, kSweep, kUnknown };

// The metrics of a training are several documents, one a line; everything else is one.
bool is_training_log(const fs::path& path) {
  static_cast<void>(io::open_regular_file(path));  // a pipe would be waited for
  std::ifstream in(path, std::ios::binary);
  std::string line;
  if (!std::getline(in, line)) return false;
  const Json json = Json::parse(line, nullptr, false);
  return json.is_object() && json.contains("iteration");
}

Content content_of(const fs::path& path) {
  if (is_training_log(path)) return Content::kTraining;
  io::JsonSplitter splitter(path);
  if (splitter.is_array()) return Content::kRun;
  for (io::JsonPiece piece; splitter.next(piece); splitter.release_behind()) {
    if (piece.key == "annotations" || piece.key == "images") return Content::kRun;
    if (piece.key == "points") return Content::kSweep;
    for (const char* metric : {"box", "mask", "corloc", "saliency"}) {
      if (piece.key == metric) return Content::kMetrics;
    }
  }
  return Content::kUnknown;
}

Json read_json(const fs::path& path) {
  io::JsonSplitter splitter(path);
  Json json = Json::parse(splitter.text(), nullptr, false);
  check(json.is_object(), ErrorKind::kFormat, "{}: expected a JSON object", path.string());
  return json;
}

TrainingLog read_training(const std::string& name, const fs::path& path) {
  TrainingLog log{name, {}};
  std::ifstream in(path, std::ios::binary);
  check(in.good(), ErrorKind::kIo, "{}: cannot be read", path.string());
  std::int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.empty()) continue;
    const Json json = Json::parse(line, nullptr, false);
    if (json.is_discarded() && in.eof()) break;  // a line that a crash cut short
    check(json.is_object() && json.contains("iteration") && json["iteration"].is_number(), ErrorKind::kFormat,
          "{}:{}: expected an object with a number 'iteration'", path.string(), number);
    const double iteration = json["iteration"].get<double>();
    for (const auto& [key, value] : json.items()) {
      if (key != "iteration" && value.is_number()) log.values[key].emplace_back(iteration, value.get<double>());
    }
  }
  return log;
}

StageTimes read_times(const std::string& name, const fs::path& path) {
  const Json json = read_json(path);
  StageTimes times{name, 0, {}};
  check(json.contains("seconds") && json["seconds"].is_object(), ErrorKind::kFormat, "{}: expected an object 'seconds'",
        path.string());
  if (json.contains("images") && json["images"].is_number_integer()) times.images = json["images"].get<std::int64_t>();
  for (const auto& [stage, seconds] : json["seconds"].items()) {
    check(seconds.is_number(), ErrorKind::kFormat, "{}: seconds.{}: expected a number", path.string(), stage);
    times.seconds.emplace_back(stage, seconds.get<double>());
  }
  return times;
}

// What `usol run`, `predict`, a sweep and evaluations by Detectron2 call their annotations.
constexpr std::array kRunFiles = {"masks.json", "predictions.json", "coco_instances_results.json"};

class Reader {
 public:
  Reader(bool with_truth, fs::path image_root) : with_truth_(with_truth), image_root_(std::move(image_root)) {}

  void add(const std::string& argument) {
    fs::path path = argument;
    std::string name;
    if (const std::size_t equals = argument.find('='); !fs::exists(path) && equals != std::string::npos) {
      name = argument.substr(0, equals);
      path = argument.substr(equals + 1);
    }
    check(fs::exists(path), ErrorKind::kUsage, "{}: no such file or folder", path.string());
    if (!fs::is_directory(path)) {
      check(add_file(name.empty() ? file_name(path) : name, path), ErrorKind::kUsage,
            "{}: neither annotations nor metrics nor a sweep: expected COCO JSON, a list of results, metrics.json of a "
            "training, a file of usol eval, or sweep.json",
            path.string());
      return;
    }
    if (name.empty()) name = folder_name(path);
    if (add_folder(name, path)) return;
    // A folder of such folders: the rounds of self-training, say.
    std::vector<fs::path> parts;
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.is_directory()) parts.push_back(entry.path());
    }
    std::sort(parts.begin(), parts.end());
    bool any = false;
    for (const fs::path& part : parts) any = add_folder(name + "/" + folder_name(part), part) || any;
    check(any, ErrorKind::kUsage, "{}: holds none of {}, metrics.json, sweep.json, nor do the folders in it",
          path.string(), fmt::join(kRunFiles, ", "));
  }

  ReportSources take() { return std::move(sources_); }

 private:
  static std::string folder_name(const fs::path& path) {
    const fs::path normal = fs::absolute(path).lexically_normal();
    return normal.has_filename() ? normal.filename().string() : normal.parent_path().filename().string();
  }
  // Files that are all called the same are known by their folder.
  static std::string file_name(const fs::path& path) {
    const std::string own = path.filename().string();
    const bool common = std::find(kRunFiles.begin(), kRunFiles.end(), own) != kRunFiles.end() ||
                        own == "metrics.json" || own == "sweep.json";
    return common ? folder_name(fs::absolute(path).parent_path()) : path.stem().string();
  }

  std::string unique(const std::string& name) {
    std::string out = name;
    for (int k = 2; !names_.insert(out).second; ++k) out = fmt::format("{} ({})", name, k);
    return out;
  }

  bool add_file(const std::string& name, const fs::path& path) {
    switch (content_of(path)) {
      case Content::kRun:
        add_run(name, path);
        return true;
      case Content::kTraining:
        sources_.trainings.push_back(read_training(name, path));
        return true;
      case Content::kMetrics:
        sources_.metrics.push_back({name, read_json(path)});
        return true;
      case Content::kSweep:
        sources_.sweeps.push_back({name, read_json(path)});
        return true;
      case Content::kUnknown:
        return false;
    }
    return false;
  }

  void add_run(const std::string& name, const fs::path& path) {
    ReportRun run{unique(name), io::read_coco(path, {.image_root = image_root_}), nullptr, {}};
    run.groups = read_grouped_objects(path, run.set);
    if (!run.set.info_json.empty()) {
      run.info = Json::parse(run.set.info_json, nullptr, false);
      if (!run.info.is_object()) run.info = nullptr;
    }
    sources_.runs.push_back(std::move(run));
  }

  // The stages of self-training that are done: "masks", "base/train", "round1/merge", "round1/eval-predict", ...
  void add_self_training(const std::string& name, const fs::path& folder, const Json& manifest) {
    const bool evaluated = std::any_of(manifest["stages"].begin(), manifest["stages"].end(), [](const Json& stage) {
      return stage.value("name", std::string()).ends_with("/eval-predict");
    });
    for (const Json& stage : manifest["stages"]) {
      check(stage.contains("name") && stage["name"].is_string() && stage.contains("output") &&
                stage["output"].is_string(),
            ErrorKind::kFormat, "{}/manifest.json: expected stages with a 'name' and an 'output'", folder.string());
      const auto path = stage["name"].get<std::string>();
      const fs::path output = folder / stage["output"].get<std::string>();
      const std::size_t slash = path.find('/');
      const std::string round = name + "/" + path.substr(0, slash);
      const std::string what = slash == std::string::npos ? path : path.substr(slash + 1);
      if (what == "train") {
        sources_.trainings.push_back(read_training(round, output.parent_path() / "metrics.json"));
      } else if (what == "eval") {
        sources_.metrics.push_back({round, read_json(output)});
      } else if (what == "eval-predict" && with_truth_) {
        add_run(round, output);
      } else if ((what == "masks" || what == "merge") && !(with_truth_ && evaluated)) {
        add_run(what == "masks" ? round : round + "/masks", output);
      }
    }
  }

  // False if nothing is in it.
  bool add_folder(const std::string& name, const fs::path& folder) {
    bool any = false;
    if (const fs::path manifest = folder / "manifest.json"; fs::exists(manifest)) {
      const Json json = read_json(manifest);
      if (json.contains("usol_self_train") && json.contains("stages") && json["stages"].is_array()) {
        add_self_training(name, folder, json);
        any = true;
      }
    }
    for (const char* file : kRunFiles) {
      if (!fs::exists(folder / file)) continue;
      add_run(name, folder / file);
      if (fs::is_directory(folder / "stages")) sources_.runs.back().stages = folder / "stages";
      any = true;
    }
    for (const char* file : {"metrics.json", "sweep.json"}) {
      if (fs::exists(folder / file)) any = add_file(name, folder / file) || any;
    }
    if (fs::exists(folder / "times.json")) {
      sources_.times.push_back(read_times(name, folder / "times.json"));
      any = true;
    }
    return any;
  }

  bool with_truth_;
  fs::path image_root_;
  ReportSources sources_;
  std::set<std::string> names_;
};

}  // namespace

ReportSources read_report_sources(const std::vector<std::string>& arguments, bool with_truth,
                                  const fs::path& image_root) {
  Reader reader(with_truth, image_root);
  for (const std::string& argument : arguments) reader.add(argument);
  return reader.take();
}

}  // namespace usol::report
