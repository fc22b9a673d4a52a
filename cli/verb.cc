#include "usol/cli/verb.h"

#include <algorithm>
#include <array>

#include "usol/cli/console.h"
#include "usol/cli/signals.h"
#include "usol/ops/all_reduce.h"
#include "usol/pipeline/precision.h"
#include "usol/tensor/check.h"
#include "usol/tensor/device_count.h"
#include "usol/train/distributed.h"

namespace usol::cli {
namespace {

std::vector<VerbEntry>& registry() {
  static std::vector<VerbEntry> entries;
  return entries;
}

// The order of the help. A verb that is not here comes last.
constexpr std::array kOrder = {"run",   "maskcut",  "features",   "discover", "merge", "predict",
                               "train", "pretrain", "self-train", "group",    "eval",  "report",
                               "sweep", "info",     "weights",    "gt"};

}  // namespace

void add_verb(VerbEntry entry) { registry().push_back(std::move(entry)); }

std::vector<VerbEntry> verbs() {
  std::vector<VerbEntry> sorted = registry();
  const auto place = [](const VerbEntry& entry) { return std::find(kOrder.begin(), kOrder.end(), entry.name); };
  std::stable_sort(sorted.begin(), sorted.end(), [&](const auto& a, const auto& b) {
    return place(a) != place(b) ? place(a) < place(b) : a.name < b.name;
  });
  return sorted;
}

bool is_verb(const std::string& name) {
  return std::any_of(registry().begin(), registry().end(), [&](const auto& entry) { return entry.name == name; });
}

Run Common::run(const std::string& verb, const Options& options, Communicator* ranks) const {
  Run run;
  run.device = device(ranks);
  run.precision = compute_dtype(run.device, verb == "train" || verb == "pretrain" || verb == "self-train");
  run.seed = static_cast<std::uint64_t>(seed);
  run.deterministic = deterministic;
  run.ranks = ranks;
  run.existing = force ? Existing::kReplace : resume ? Existing::kContinue : Existing::kRefuse;
  run.dry_run = dry_run;
  run.log = std::make_shared<Console>();
  const bool speaks = !quiet && run.leads();
  run.verbosity = !speaks ? Verbosity::kQuiet : verbose ? Verbosity::kDetailed : Verbosity::kNormal;
  run.stop = pending_signal;
  run.made_by = "usol " + verb;
  run.settings_json = options.settings_text();
  if (!config.empty()) run.also_read = {config};
  return run;
}

Device Common::device(const Communicator* ranks) const {
  Device device = Device::parse(device_name);
  if (device.is_cuda()) {
    check(is_linked(DeviceType::kCuda), ErrorKind::kUnsupported,
          "--device {}: this binary has no CUDA; use usol-cuda (scripts/build makes it where nvcc is found) or "
          "--device cpu",
          device_name);
    const int count = device_count(DeviceType::kCuda);
    if (ranks && device_name == "cuda" && count > 1) device.index = train::local_rank();  // each its own
    check(device.index < count, ErrorKind::kUnsupported,
          "--device {}: {} CUDA device{} found; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu",
          to_string(device), count, count == 1 ? "" : "s");
  }
  return device;
}

DType Common::compute_dtype(const Device& device, bool trains) const {
  try {
    return precision_on(device, precision, trains);
  } catch (const Error& error) {
    fail(error.kind(), fmt::format("--{}; use --precision f32", error.what()));
  }
}

void Common::declare(Options& options) {
  options.group("Common options");
  options.flag("-q,--quiet", quiet, "Errors and warnings only", OptionKind::kRun);
  options.flag("-v,--verbose", verbose, "More messages", OptionKind::kRun);
  options.add("--threads", threads, "CPU threads; 0: as many as affinity and container allow", OptionKind::kRun)
      .between(0, 4096);
  options.add("--seed", seed, "Seed of everything random").at_least(0);
  options.flag("--deterministic", deterministic, "The same bits in every run, at some cost in speed");
  options.add("--device NAME", device_name, "cpu, cuda or cuda:N", OptionKind::kRun);
  options.choice("--precision", precision, kPrecisions, "Arithmetic of matrix products and convolutions");
  options.add("--config FILE", config, "Settings file (TOML); flags and USOL_* variables win over it",
              OptionKind::kRun);
  options.flag("--print-config", print_config, "Print all settings as such a file, and stop", OptionKind::kRun);
  options.flag("--dry-run", dry_run, "Say what would be done, write nothing", OptionKind::kRun);
  options.flag("--force", force, "Replace existing outputs, if usol wrote them", OptionKind::kRun);
  options.flag("--resume", resume, "Continue an interrupted run; refuses changed settings or weights",
               OptionKind::kRun);
}

}  // namespace usol::cli
