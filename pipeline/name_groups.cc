#include "usol/pipeline/name_groups.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/eval/clusters.h"
#include "usol/io/coco.h"
#include "usol/io/json_text.h"
#include "usol/io/sha256.h"
#include "usol/io/text_lines.h"
#include "usol/io/utf8.h"
#include "usol/pipeline/outputs.h"
#include "usol/pipeline/provenance.h"
#include "usol/pipeline/reading.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol {
namespace {

constexpr std::string_view kDropped = "-";
constexpr const char* kNamed = "named";  // the categories' supercategory

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// What a names file says.
struct Names {
  std::vector<io::CocoCategory> categories;
  std::map<std::int64_t, std::int64_t> category_of;  // by group (a category of the groups' file); 0: dropped
};

class NamesReader {
 public:
  NamesReader(const std::string& path, const io::AnnotationSet& groups) : path_(path), groups_(groups) {}

  Names read() {
    io::TextLines lines(path_);
    for (std::string line; lines.next(line);) {
      check_utf8(line, lines.number());
      const std::string_view text = trimmed(line);
      if (text.empty() || text.front() == '#') continue;
      add(text, lines.number());
    }
    return std::move(names_);
  }

 private:
  void check_utf8(const std::string& line, std::int64_t number) const {
    check(io::is_utf8(line), ErrorKind::kUsage, "{}:{}: expected UTF-8 text", path_, number);
  }

  void add(std::string_view text, std::int64_t number) {
    const auto comma = text.find(',');
    check(comma != std::string_view::npos, ErrorKind::kUsage,
          "{}:{}: expected a group, a comma and its name, as \"3, cat\", got '{}'", path_, number, text);
    const std::string_view word = trimmed(text.substr(0, comma)), name = trimmed(text.substr(comma + 1));
    check(!name.empty(), ErrorKind::kUsage, "{}:{}: group {} has no name; \"{}, -\" leaves it out", path_, number, word,
          word);
    const std::int64_t group = find(word);
    check(group > 0, ErrorKind::kUsage, "{}:{}: {} has no group '{}'", path_, number, groups_.name, word);
    const bool is_new = names_.category_of.emplace(group, name == kDropped ? 0 : category(name)).second;
    check(is_new, ErrorKind::kUsage, "{}:{}: group {} has a name already", path_, number, word);
  }

  std::int64_t find(std::string_view word) const {
    std::int64_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    const bool is_number = error == std::errc() && end == word.data() + word.size();
    for (const io::CocoCategory& group : groups_.categories) {
      const bool is_other = group.supercategory == eval::kNoGroup;
      if (is_other ? word == eval::kNoGroup : is_number && group.id == id) return group.id;
    }
    return 0;
  }

  std::int64_t category(std::string_view name) {
    for (const io::CocoCategory& category : names_.categories)
      if (category.name == name) return category.id;
    const auto id = static_cast<std::int64_t>(names_.categories.size()) + 1;
    names_.categories.push_back({id, std::string(name), kNamed});
    return id;
  }

  const std::string& path_;
  const io::AnnotationSet& groups_;
  Names names_;
};

}  // namespace

int name_groups(const Run& run, const NameGroupsConfig& config, const std::string& out) {
  for (const std::string& path : {config.groups, config.names})
    check(fs::exists(path), ErrorKind::kUsage, "{}: no such file", path);
  Outputs outputs(run);
  outputs.reads({config.groups, config.names});
  const std::string file = outputs.file("out", out);
  io::AnnotationSet set = io::read_coco(config.groups, {.image_root = config.image_root});
  say_reading(run, set);
  check(std::any_of(set.categories.begin(), set.categories.end(),
                    [](const io::CocoCategory& category) { return category.supercategory == eval::kNoGroup; }),
        ErrorKind::kUsage, "{}: holds no groups: expected a file that usol group wrote", config.groups);
  const Names names = NamesReader(config.names, set).read();
  std::int64_t kept = 0, dropped = 0, unnamed = 0;
  for (io::CocoAnnotation& object : set.annotations) {
    const auto found = names.category_of.find(object.category_id);
    (found == names.category_of.end() ? unnamed : found->second == 0 ? dropped : kept) += 1;
    object.category_id = found == names.category_of.end() ? 0 : found->second;
  }
  check(kept > 0, ErrorKind::kUsage, "{}: none of the objects of {} gets a name", config.names, config.groups);
  if (run.dry_run) {
    run.note("would write {}: {} objects in {} categories", file, kept, names.categories.size());
    return kSuccess;
  }
  make_folder_of(file);
  io::CocoWriter writer(file);
  std::int64_t id = 0;
  for (io::CocoAnnotation& object : set.annotations) {
    run.throw_if_stopped();
    if (object.category_id == 0) continue;
    object.id = ++id;
    writer.add_annotation(object, set);
  }
  for (const io::CocoImage& image : set.images) writer.add_image(image);
  Json info = make_info(run, "{}");
  info["groups_sha256"] = io::sha256_file(config.groups);
  info["names_sha256"] = io::sha256_file(config.names);
  writer.finish(names.categories, io::json_text(info));
  run.note("wrote {}: {} objects in {} categories; {} are of groups named {}, {} of groups without a name", file, kept,
           names.categories.size(), dropped, kDropped, unnamed);
  return kSuccess;
}

}  // namespace usol
