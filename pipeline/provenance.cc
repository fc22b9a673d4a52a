#include "usol/pipeline/provenance.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "usol/io/json_stream.h"
#include "usol/pipeline/version.h"

namespace usol {
namespace {

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    // x86 names the model; arm64 gives numbers only.
    for (const char* key : {"model name", "CPU part"}) {
      if (!line.starts_with(key)) continue;
      const auto colon = line.find(": ");
      if (colon != std::string::npos) return (key[0] == 'C' ? "arm64 CPU part " : "") + line.substr(colon + 2);
    }
  }
  return "CPU";
}

}  // namespace

std::string device_model(const Device& device) { return device.is_cpu() ? cpu_model() : to_string(device); }

nlohmann::ordered_json read_info(const std::filesystem::path& file) {
  io::JsonSplitter splitter{file};
  for (io::JsonPiece piece; splitter.next(piece); splitter.release_behind()) {
    if (piece.kind != io::JsonPiece::Kind::kValue || piece.key != "info") continue;
    auto info = nlohmann::ordered_json::parse(piece.text, nullptr, false);
    if (info.is_object()) return info;
  }
  return nullptr;
}

nlohmann::ordered_json make_info(const Run& run, const std::string& own_settings, const std::string& weights_sha256) {
  nlohmann::ordered_json info;
  info["description"] = run.made_by;
  info["version"] = version();
  auto settings = nlohmann::ordered_json::parse(run.settings_json.empty() ? own_settings : run.settings_json);
  if (settings.contains("preset")) info["preset"] = settings["preset"];
  info["settings"] = std::move(settings);
  info["weights_sha256"] = nullptr;
  if (!weights_sha256.empty()) info["weights_sha256"] = weights_sha256;
  info["precision"] = name_of(run.precision);
  return info;
}

nlohmann::ordered_json with_run_settings(nlohmann::ordered_json settings, const Run& run) {
  settings["seed"] = run.seed;
  settings["deterministic"] = run.deterministic;
  settings["precision"] = name_of(run.precision);
  return settings;
}

}  // namespace usol
