#pragma once
// What every output says about how it was made: enough to make it again, and nothing that differs between two runs of
// the same work (no times, no hosts, no paths).

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "usol/cli/verb.h"

namespace usol {

/// {"description": "usol <verb>", "version", "preset" (if the verb has one), "settings": {...}, "weights_sha256" (null
/// without weights), "precision"}. The device is added at the end (it may change over a resumed run).
nlohmann::ordered_json make_info(const std::string& verb, const Common& common, const Options& options,
                                 const std::string& weights_sha256 = {});
/// The `info` of a COCO file; null if it has none. Throws Error if the file cannot be read.
nlohmann::ordered_json read_info(const std::filesystem::path& file);
/// "AMD EPYC 9B14", "NVIDIA H200": the model of the device, not its place or number.
std::string device_model(const Device& device);

}  // namespace usol
