#include "usol/pipeline/training_folder.h"

#include <algorithm>
#include <utility>

#include "usol/io/atomic_file.h"
#include "usol/io/origin.h"
#include "usol/pipeline/journal.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

constexpr const char* kEvents = "events.out.tfevents.usol";

}  // namespace

TrainingFolder::TrainingFolder(fs::path folder, std::vector<std::string> finals, std::int64_t keep)
    : folder_(std::move(folder)), finals_(std::move(finals)), checkpoints_(folder_, keep) {}

// metrics.json has no place to say whose it is, and Detectron2's looks the same. TensorBoard's file beside it, which
// has a name of our own, comes before it and goes after it; a checkpoint of ours says it, too, where that file was not
// taken along.
bool TrainingFolder::has_figures() const {
  const std::vector<fs::path> all = checkpoints_.all();
  return fs::is_regular_file(folder_ / kEvents) || std::any_of(all.begin(), all.end(), io::written_by_usol);
}

void TrainingFolder::check_outputs(const Run& run, const std::vector<std::string>& reads, bool with_pictures,
                                   const InputList* inputs) const {
  Outputs outputs(run, run.existing == Existing::kRefuse ? Existing::kContinue : run.existing);
  outputs.reads(reads);
  if (inputs != nullptr) outputs.reads(*inputs);
  check(!fs::exists(folder_) || fs::is_directory(folder_), ErrorKind::kUsage, "out {} is no folder", folder_.string());
  outputs.folder("out", folder_.string());
  for (const std::string& name : finals_) outputs.file("out", (folder_ / name).string());
  if (run.replaces())  // they will be removed
    for (const fs::path& path : checkpoints_.all()) outputs.file("out", path.string());
  if (with_pictures) outputs.folder("out", pictures().string());
  if (!has_figures())
    for (const fs::path& path : {metrics(), folder_ / kEvents, skipped_list()}) outputs.file("out", path.string());
  const bool exists = checkpoints_.newest() || fs::exists(folder_ / finals_.front()) || fs::exists(metrics());
  check(!exists || run.continues() || run.replaces() || run.dry_run, ErrorKind::kExists, "{} holds a training",
        folder_.string());
}

bool TrainingFolder::is_finished(const Run& run, const std::string& settings) const {
  bool whole = fs::exists(folder_ / finals_.front());
  std::string made_by;
  for (const std::string& name : finals_) {
    if (!whole || !name.ends_with(".safetensors") || !fs::exists(folder_ / name)) continue;
    try {
      made_by = train::read_checked(folder_ / name).metadata[kInfo];
    } catch (const Error& error) {
      check(checkpoints_.newest().has_value(), error.kind(),
            "{}; there is no checkpoint to make it anew from: train anew", error.what());
      if (run.leads()) run.warn("{}; it is made anew from the last checkpoint", error.what());
      whole = false;
    }
  }
  if (!whole || made_by.empty()) return whole;
  const char* key = "settings";
  const std::string differences = describe_differences({{key, nlohmann::ordered_json::parse(made_by).at(key)}},
                                                       {{key, make_info(run, settings).at(key)}});
  check(differences.empty(), ErrorKind::kUsage, "{} was made with other settings: {}", folder_.string(), differences);
  return true;
}

train::SavedState TrainingFolder::newest(const Run& run, const nlohmann::ordered_json& info, bool warns) const {
  train::NewestState found;
  try {
    found = checkpoints_.load_newest();
  } catch (const Error& error) {
    fail(error.kind(), fmt::format("{}; train anew", error.what()));
  }
  if (warns)
    for (const std::string& why : found.damaged) run.warn("{}; the checkpoint before it is taken", why);
  train::SavedState& saved = *found.state;
  const auto made_by = nlohmann::ordered_json::parse(saved.metadata[kInfo], nullptr, false);
  const std::string differences = describe_differences(made_by, info);
  check(differences.empty(), ErrorKind::kUsage, "{} was made with other settings: {}", saved.path.string(),
        differences);
  return std::move(saved);
}

void TrainingFolder::remove_unfinished() const {
  std::vector<std::string> starts{".checkpoint_", fmt::format(".{}.", skipped_list().filename().string())};
  for (const std::string& name : finals_) starts.push_back(fmt::format(".{}.", name));
  std::vector<fs::path> unfinished;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    const bool is_ours =
        std::any_of(starts.begin(), starts.end(), [&](const std::string& start) { return name.starts_with(start); });
    if (is_ours && io::is_temporary_name(name)) unfinished.push_back(entry.path());
  }
  for (const fs::path& path : unfinished) fs::remove(path);
}

void TrainingFolder::remove() const {
  // In an order in which a kill leaves nothing that would not be known any more.
  if (has_figures())
    for (const fs::path& path : {metrics(), skipped_list()}) fs::remove(path);
  for (const fs::path& path : checkpoints_.all()) remove_output(path);
  for (const std::string& name : finals_) remove_output(folder_ / name);
  if (fs::is_regular_file(folder_ / kEvents)) fs::remove(folder_ / kEvents);
}

}  // namespace usol
