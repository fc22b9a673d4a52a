#include "usol/pipeline/detector_categories.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "usol/io/json_text.h"

using Json = nlohmann::ordered_json;

namespace usol {
namespace {

// Nothing if the text is not as categories_text() writes it.
std::vector<io::CocoCategory> parse(const std::string& text) {
  std::vector<io::CocoCategory> categories;
  const Json list = Json::parse(text, nullptr, false);
  if (!list.is_array()) return {};
  for (const Json& entry : list) {
    if (!entry.is_object() || !entry.contains("id") || !entry["id"].is_number_integer() || !entry.contains("name") ||
        !entry["name"].is_string())
      return {};
    const std::string name = entry["name"].get<std::string>();
    const bool has_super = entry.contains("supercategory") && entry["supercategory"].is_string();
    categories.push_back(
        {entry["id"].get<std::int64_t>(), name, has_super ? entry["supercategory"].get<std::string>() : name});
  }
  return categories;
}

}  // namespace

std::string categories_text(std::vector<io::CocoCategory> categories) {
  std::sort(categories.begin(), categories.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  Json list = Json::array();
  for (const io::CocoCategory& category : categories)
    list.push_back({{"id", category.id}, {"name", category.name}, {"supercategory", category.supercategory}});
  return io::json_text(list);
}

std::vector<io::CocoCategory> detector_categories(const std::map<std::string, std::string>& metadata,
                                                  std::int64_t classes) {
  std::vector<io::CocoCategory> categories;
  if (const auto found = metadata.find(kCategoriesKey); found != metadata.end()) categories = parse(found->second);
  if (static_cast<std::int64_t>(categories.size()) == classes) return categories;
  categories.clear();
  for (std::int64_t k = 1; k <= classes; ++k) {
    const std::string label = classes == 1 ? "fg" : fmt::format("class {}", k);
    categories.push_back({k, label, label});
  }
  return categories;
}

}  // namespace usol
