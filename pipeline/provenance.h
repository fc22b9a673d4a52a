#pragma once
// What every output says about how it was made: enough to make it again, and nothing that differs between two runs of
// the same work (no times, no hosts, no paths).

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "usol/pipeline/run.h"

namespace usol {

/// {"description": run.made_by, "version", "preset" (if there is one among the settings), "settings":
/// run.settings_json, "weights_sha256" (null without weights), "precision"}. The device is added at the end (it may
/// change over a resumed run). `own_settings`: a JSON object of the job's settings, for callers that gave
/// run.settings_json none.
nlohmann::ordered_json make_info(const Run& run, const std::string& own_settings,
                                 const std::string& weights_sha256 = {});
/// `settings` of a job, and what else of a run decides its result, {"seed", "deterministic", "precision"}: in the form
/// of run.settings_json.
nlohmann::ordered_json with_run_settings(nlohmann::ordered_json settings, const Run& run);
/// The `info` of a COCO file; null if it has none. Throws Error if the file cannot be read.
nlohmann::ordered_json read_info(const std::filesystem::path& file);
/// "AMD EPYC 9B14", "NVIDIA H200": the model of the device, not its place or number.
std::string device_model(const Device& device);

}  // namespace usol
