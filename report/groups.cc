#include "usol/report/groups.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "usol/eval/clusters.h"
#include "usol/io/json_stream.h"
#include "usol/report/html.h"
#include "usol/tensor/check.h"

namespace usol::report {

std::vector<GroupedObject> read_grouped_objects(const std::filesystem::path& path, const io::AnnotationSet& set) {
  const bool has_groups =
      std::any_of(set.categories.begin(), set.categories.end(),
                  [](const io::CocoCategory& category) { return category.supercategory == eval::kNoGroup; });
  if (!has_groups) return {};
  std::map<std::int64_t, std::size_t> by_record;
  for (std::size_t i = 0; i < set.annotations.size(); ++i) {
    const std::int64_t record = set.annotations[i].record;
    by_record[record < 0 ? static_cast<std::int64_t>(i) : record] = i;
  }
  std::vector<GroupedObject> objects;
  io::JsonSplitter splitter(path);
  for (io::JsonPiece piece; splitter.next(piece); splitter.release_behind()) {
    if (piece.kind != io::JsonPiece::Kind::kElement || piece.key != "annotations") continue;
    const auto found = by_record.find(piece.index);
    if (found == by_record.end()) continue;  // the reader left it out
    const auto json = nlohmann::json::parse(piece.text, nullptr, false);
    for (const char* field : {"group", "similarity", "margin"})
      check(json.is_object() && json.contains(field) && json[field].is_number(), ErrorKind::kFormat,
            "{}.{}: expected a number, as usol group writes it", set.place(set.annotations[found->second]), field);
    objects.push_back({found->second, json["group"].get<std::int64_t>(), json["similarity"].get<double>(),
                       json["margin"].get<double>()});
  }
  return objects;
}

std::vector<GroupRow> group_rows(const std::vector<GroupedObject>& objects, std::size_t typical, std::size_t marginal) {
  std::map<std::int64_t, std::vector<const GroupedObject*>> members;
  for (const GroupedObject& object : objects) members[object.group].push_back(&object);
  std::vector<GroupRow> rows;
  for (auto& [group, list] : members) {
    GroupRow row;
    row.group = group;
    row.objects = static_cast<std::int64_t>(list.size());
    std::stable_sort(list.begin(), list.end(),
                     [](const GroupedObject* a, const GroupedObject* b) { return a->similarity > b->similarity; });
    const std::size_t first = std::min(typical, list.size());
    for (std::size_t i = 0; i < first; ++i) row.typical.push_back(list[i]->annotation);
    list.erase(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(first));
    std::stable_sort(list.begin(), list.end(),
                     [](const GroupedObject* a, const GroupedObject* b) { return a->margin < b->margin; });
    for (std::size_t i = 0; i < std::min(marginal, list.size()); ++i) row.marginal.push_back(list[i]->annotation);
    rows.push_back(std::move(row));
  }
  if (!rows.empty() && rows.front().group == 0) std::rotate(rows.begin(), rows.begin() + 1, rows.end());
  return rows;
}

std::string group_rows_html(const std::vector<GroupRow>& rows, const std::function<std::string(std::size_t)>& crop,
                            const std::function<std::string(std::size_t)>& title) {
  if (rows.empty()) return {};
  std::string html =
      "<p>Name the groups: <kbd>Enter</kbd> or <kbd>&darr;</kbd> goes on to the next one, <kbd>&uarr;</kbd> back. "
      "Groups of one name become one category; <kbd>-</kbd> leaves a group out, and so does no name. Then save the "
      "names: <code>usol group</code> makes categories of the groups by them. Dashed are the objects that are almost "
      "in "
      "another group.</p>\n"
      "<p><button id=\"save-names\" type=\"button\">save names.txt</button> <span id=\"named\" class=\"soft\" "
      "role=\"status\"></span></p>\n<div id=\"group-rows\">\n";
  for (const GroupRow& row : rows) {
    const std::string word = row.group == 0 ? eval::kNoGroup : std::to_string(row.group);
    const std::string label = row.group == 0 ? "in no group" : "group " + word;
    html += fmt::format(
        "<div class=\"group\"><label><b>{}</b> <small>{} object{}</small> <input type=\"text\" data-group=\"{}\" "
        "aria-label=\"name of {}\" autocomplete=\"off\" spellcheck=\"false\"></label><div class=\"crops\">",
        label, row.objects, row.objects == 1 ? "" : "s", word, label);
    const auto add = [&](const std::vector<std::size_t>& annotations, const char* kind) {
      for (const std::size_t annotation : annotations) {
        const std::string source = crop(annotation), text = escape_html(title(annotation));
        if (source.empty()) continue;
        html += fmt::format("<img class=\"{}\" src=\"{}\" alt=\"{}\" title=\"{}\" loading=\"lazy\">", kind,
                            escape_html(source), text, text);
      }
    };
    add(row.typical, "typical");
    add(row.marginal, "marginal");
    html += "</div></div>\n";
  }
  return html + "</div>\n";
}

}  // namespace usol::report
