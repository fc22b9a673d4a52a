#include "usol/io/checkpoint_files.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "usol/io/placeholder.h"
#include "usol/io/sha256.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::io {
namespace {

using nlohmann::json;

// What a hub's folder has, best first.
constexpr const char* kInFolder[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                     "pytorch_model.bin.index.json"};
constexpr std::size_t kMaxJsonBytes = 100'000'000;

json parse_object(const SharedBytes& file, const char* expected) {
  refuse_placeholder(file.bytes, file.name, expected);
  check(file.size() <= kMaxJsonBytes, ErrorKind::kFormat, "{}: {} bytes are too many for {}", file.name, file.size(),
        expected);
  const auto* text = reinterpret_cast<const char*>(file.bytes.data());
  // What is nested deeper is of no interest, and depth would cost stack.
  const json::parser_callback_t shallow = [](int depth, json::parse_event_t, json&) { return depth <= 3; };
  json parsed;
  try {
    parsed = json::parse(text, text + file.size(), shallow);
  } catch (const json::exception& error) {
    fail(ErrorKind::kFormat, fmt::format("{}: expected {}, got invalid JSON: {}", file.name, expected, error.what()));
  }
  check(parsed.is_object(), ErrorKind::kFormat, "{}: expected {}, got JSON that is no object", file.name, expected);
  return parsed;
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() < 256 && name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos &&
         name != "." && name != "..";
}

bool is_json(const fs::path& path) { return path.extension() == ".json"; }

/// The number at `key`, or `otherwise`.
double number(const json& config, const char* key, double otherwise) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number() ? found->get<double>() : otherwise;
}

void check_vit_config(const json& config, const std::string& file) {
  const auto type = config.find("model_type");
  if (type == config.end() || !type->is_string()) return;
  const auto name = type->get<std::string>();
  const bool dinov3 = name == "dinov3_vit";
  if (!dinov3 && name != "vit" && name != "dinov2" && name != "dinov2_with_registers") return;
  const double width = number(config, "hidden_size", 64);
  const double head_width = dinov3 && width == 4096 ? 128 : 64;  // DINOv3 7B
  const double heads = number(config, "num_attention_heads", width / head_width);
  check(heads * head_width == width, ErrorKind::kUnsupported,
        "{}: expected attention heads of width {}, got hidden_size {} with {} heads", file, head_width, width, heads);
  const auto gated = config.find("use_gated_mlp");
  const char* expected = dinov3 && gated != config.end() && *gated == true ? "silu" : "gelu";
  const auto act = config.find("hidden_act");
  check(act == config.end() || *act == expected, ErrorKind::kUnsupported, "{}: expected hidden_act \"{}\", got {}",
        file, expected, act == config.end() ? "" : act->dump());
  if (dinov3) {
    const double epsilon = number(config, "layer_norm_eps", 1e-5), base = number(config, "rope_theta", 100);
    check(std::abs(epsilon - 1e-5) < 1e-9, ErrorKind::kUnsupported,
          "{}: expected layer_norm_eps 1e-05, as DINOv3 has, got {}", file, epsilon);
    check(base == 100, ErrorKind::kUnsupported, "{}: expected rope_theta 100, as DINOv3 has, got {}", file, base);
    return;
  }
  // The hub's copies of DINO say 1e-12, where the model was trained with 1e-6; the difference is below f32's noise.
  const double epsilon = number(config, "layer_norm_eps", 1e-6);
  check(epsilon >= 0 && epsilon <= 2e-6, ErrorKind::kUnsupported,
        "{}: expected layer_norm_eps of at most 1e-06, as DINO and DINOv2 have, got {}", file, epsilon);
}

/// `key`'s three numbers as text, or nothing.
std::optional<std::string> three_numbers(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array() || found->size() != 3) return std::nullopt;
  const bool numbers = std::all_of(found->begin(), found->end(), [](const json& v) { return v.is_number(); });
  return numbers ? std::optional(found->dump()) : std::nullopt;
}

}  // namespace

CheckpointIndex parse_checkpoint_index(const SharedBytes& file) {
  const json parsed = parse_object(file, "an index of weights");
  const auto map = parsed.find("weight_map");
  check(map != parsed.end() && map->is_object() && !map->empty(), ErrorKind::kFormat,
        "{}: a JSON file without a \"weight_map\" of tensors, so no index of weights", file.name);
  CheckpointIndex index;
  for (const auto& item : map->items()) {
    const std::string part = item.value().is_string() ? item.value().get<std::string>() : "";
    check(is_plain_name(part), ErrorKind::kFormat,
          "{}: weight_map '{}': expected the name of a file beside the index, got {}", file.name, item.key(),
          item.value().dump(-1, ' ', true, json::error_handler_t::replace));
    index.file_of.emplace(item.key(), part);
  }
  return index;
}

std::uintmax_t CheckpointFiles::bytes() const {
  std::uintmax_t sum = 0;
  for (const fs::path& part : parts) sum += fs::file_size(part);
  return sum;
}

CheckpointFiles find_checkpoint_files(const fs::path& path) {
  CheckpointFiles files;
  fs::path file = path;
  std::error_code ignored;  // what cannot be looked at is named when it is opened
  if (fs::is_directory(path, ignored)) {
    const auto found = std::find_if(std::begin(kInFolder), std::end(kInFolder),
                                    [&](const char* name) { return fs::exists(path / name, ignored); });
    check(found != std::end(kInFolder), ErrorKind::kFormat, "{}: a folder without weights: expected one of {} in it",
          path.string(), fmt::join(kInFolder, ", "));
    file = path / *found;
  }
  if (!is_json(file)) {
    files.parts.push_back(file);
  } else {
    files.index = file;
    std::set<std::string> names;
    for (const auto& [tensor, part] : parse_checkpoint_index(map_file(file)).file_of) names.insert(part);
    for (const std::string& name : names) {
      files.parts.push_back(file.parent_path() / name);
      check(fs::exists(files.parts.back(), ignored), ErrorKind::kIo,
            "{}: the index lists this file, but it is not there", files.parts.back().string());
    }
  }
  if (file == path && files.index.empty()) return files;
  for (const auto& [name, place] :
       {std::pair{"config.json", &files.config}, std::pair{"preprocessor_config.json", &files.preprocessor}})
    if (fs::exists(file.parent_path() / name, ignored)) *place = file.parent_path() / name;
  return files;
}

std::string checkpoint_sha256(const fs::path& path) {
  const CheckpointFiles files = find_checkpoint_files(path);
  if (files.parts.size() == 1) return sha256_file(files.parts[0]);
  std::string lines;
  for (const fs::path& part : files.parts)
    lines += fmt::format("{}  {}\n", sha256_file(part), part.filename().string());
  return sha256_hex(std::as_bytes(std::span(lines.data(), lines.size())));
}

std::map<std::string, std::string> read_hub_config(const SharedBytes& file) {
  const json config = parse_object(file, "a model's configuration");
  check_vit_config(config, file.name);
  std::map<std::string, std::string> values;
  for (const auto& item : config.items()) {
    const json& value = item.value();
    if (value.is_string())
      values.emplace(item.key(), value.get<std::string>());
    else if (value.is_primitive())
      values.emplace(item.key(), value.dump());
  }
  // Hugging Face's preprocessor_config.json, and timm's config.json.
  const auto timm = config.find("pretrained_cfg");
  const bool nested = timm != config.end() && timm->is_object();
  for (const auto& [key, timms] : {std::pair{"image_mean", "mean"}, std::pair{"image_std", "std"}})
    if (const auto numbers = nested ? three_numbers(*timm, timms) : three_numbers(config, key))
      values.insert_or_assign(key, *numbers);
  return values;
}

}  // namespace usol::io
