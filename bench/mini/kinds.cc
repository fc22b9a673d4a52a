#include "bench/mini/kinds.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "bench/mini/rows.h"
#include "usol/io/atomic_file.h"
#include "usol/io/safetensors.h"
#include "usol/models/resnet_patches.h"
#include "usol/tensor/check.h"
#include "usol/tensor/generator.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

constexpr std::array kCorLoc{MetricColumn{"corloc", "CorLoc"}};
constexpr std::array kBox{MetricColumn{"box", "AP50"}, MetricColumn{"box", "AP"}};
constexpr std::array kMask{MetricColumn{"mask", "AP50"}, MetricColumn{"mask", "AP"}};
constexpr std::array kGroups{MetricColumn{"assignment", "accuracy"}, MetricColumn{"assignment", "NMI"}};
constexpr std::size_t kBoxAp50 = 1, kMaskAp50 = 3, kNamedAp50 = 5;  // columns of the table

void append(std::vector<double>& values, const fs::path& file, std::span<const MetricColumn> columns) {
  const std::vector<double> more = read_metrics(file, columns);
  values.insert(values.end(), more.begin(), more.end());
}

// What the script evaluated in this folder: boxes, masks unless there are none, names if there are any.
std::vector<double> values_of(const fs::path& folder, bool masks) {
  std::vector<double> values;
  append(values, folder / "corloc.json", kCorLoc);
  append(values, folder / "metrics.json", kBox);
  if (masks) append(values, folder / "metrics.json", kMask);
  if (fs::exists(folder / "named.json")) {
    append(values, folder / "named.json", kMask);
    const std::size_t first = values.size();
    append(values, folder / "named.json", kGroups);
    for (std::size_t i = first; i < values.size(); ++i) values[i] = std::max(values[i], 0.0);  // nothing was found
  }
  return values;
}

// A method: `name` is its folder in the whole folder, or in that of each seed.
struct Method {
  const char *name, *title;
  bool masks;
  std::optional<std::size_t> other;  // the row that it is compared with
};
constexpr std::size_t kFirstMethod = 1;  // after the best constant box
const std::array kMethods{
    Method{"untrained", "untrained detector", true, {}},
    Method{"lost", "LOST's boxes", false, {}},
    Method{"lost-detector", "detector of these boxes", false, 2},
    Method{"free-masks", "free masks", true, {}},
    Method{"freesolo", "FreeSOLO's detector", true, 4},
    Method{"groups", "MaskCut, groups", true, {}},
    Method{"shuffled-detector", "detector of shuffled groups", true, {}},
    Method{"named-detector", "named detector", true, 7},
};

Row row_of(const fs::path& folder, const Method& method) {
  Row row{method.title, {}};
  if (fs::exists(folder / method.name)) {
    row.seeds.push_back(values_of(folder / method.name, method.masks));
  } else {
    for (const fs::path& seed : seed_folders(folder)) row.seeds.push_back(values_of(seed / method.name, method.masks));
  }
  return row;
}

}  // namespace

void write_random_network(const fs::path& file, std::uint64_t seed) {
  ResNetConfig config;
  config.blocks = {1, 1, 1, 1};
  config.stem_channels = 16;
  config.res2_channels = 64;
  config.width_per_group = 16;
  ParamStore store(seed);
  const ResNetPatches network(Scope(store), config);
  io::save_safetensors(file, store.state_dict());
}

void shuffle_categories(const fs::path& objects, const fs::path& out, std::uint64_t seed) {
  std::ifstream file(objects);
  auto json = nlohmann::ordered_json::parse(file, nullptr, false);
  check(json.is_object() && json.contains("annotations"), ErrorKind::kFormat,
        "{}: expected a COCO file with annotations", objects.string());
  auto& annotations = json["annotations"];
  Generator random(seed);
  for (std::size_t left = annotations.size(); left > 1; --left) {  // Fisher and Yates
    const auto other = std::min(left - 1, static_cast<std::size_t>(random.uniform(0, static_cast<double>(left))));
    std::swap(annotations[left - 1].at("category_id"), annotations[other].at("category_id"));
  }
  io::write_file(out, json.dump());
}

std::string kinds_table(const fs::path& folder) {
  std::ifstream file(folder / "lost" / "corloc.json");
  const auto constant = nlohmann::json::parse(file, nullptr, false);
  check(constant.is_object() && constant.contains("corloc") && constant["corloc"].contains("constant_box"),
        ErrorKind::kFormat, "{}: lacks corloc.constant_box", (folder / "lost" / "corloc.json").string());
  std::vector<Row> rows{{"best constant box", {{100 * constant["corloc"]["constant_box"].at("CorLoc").get<double>()}}}};
  for (const Method& method : kMethods) rows.push_back(row_of(folder, method));
  const std::vector<std::string> columns{"CorLoc",          "box AP50",      "box AP",         "mask AP50", "mask AP",
                                         "named mask AP50", "named mask AP", "named accuracy", "NMI"};
  const auto other = [](std::size_t row) {
    return row < kFirstMethod ? std::nullopt : kMethods.at(row - kFirstMethod).other;
  };
  const std::size_t seeds = rows.back().seeds.size();
  return fmt::format(
      "### Kinds of objects\n\nHeld-out scenes; percent{}. The first five columns ask no names; the others are for "
      "those "
      "methods that give some. Detectors are compared with what they learned from, the named one with that of shuffled "
      "groups.\n\n{}",
      seeds > 1 ? fmt::format("; mean over {} seeds, and their range in brackets", seeds) : "",
      markdown(columns, rows, {"the other", {kBoxAp50, kMaskAp50, kNamedAp50}, other}));
}

}  // namespace usol
