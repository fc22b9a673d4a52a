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

ShownGroups first_groups(std::vector<GroupRow> rows, std::size_t most) {
  ShownGroups shown;
  std::size_t named = 0;
  for (GroupRow& row : rows) {
    if (row.group == 0 || named++ < most) {
      shown.rows.push_back(std::move(row));
    } else {
      ++shown.groups;
      shown.objects += row.objects;
    }
  }
  return shown;
}

std::string group_rows_html(const ShownGroups& shown, const std::string& file,
                            const std::function<std::string(std::size_t)>& crop,
                            const std::function<std::string(std::size_t)>& title) {
  if (shown.rows.empty()) return {};
  std::string html =
      "<p>Type a name beside each group. Groups of one name become one category; <kbd>-</kbd> leaves a group out, and "
      "so does no name. Then save the names: <code>usol group</code> makes categories of the groups by them. First are "
      "the most typical objects of a group, then, dashed, those that are almost in another one.</p>\n";
  if (shown.groups > 0)
    html += fmt::format(
        "<p>These are the {} largest groups. {} smaller ones, with {} objects together, are not shown and get no name "
        "here: lines for them can be added to the names by hand.</p>\n",
        std::count_if(shown.rows.begin(), shown.rows.end(), [](const GroupRow& row) { return row.group != 0; }),
        shown.groups, shown.objects);
  html += fmt::format(
      "<div id=\"naming\"><button id=\"save-names\" type=\"button\">save names.txt</button> <span id=\"named\" "
      "role=\"status\"></span> <small><kbd>Enter</kbd> or <kbd>&darr;</kbd> next, <kbd>&uarr;</kbd> back, "
      "<kbd>-</kbd> leave out</small></div>\n<div id=\"group-rows\" data-file=\"{}\">\n",
      escape_html(file));
  for (const GroupRow& row : shown.rows) {
    const std::string word = row.group == 0 ? eval::kNoGroup : std::to_string(row.group);
    const std::string label = row.group == 0 ? "in no group" : "group " + word;
    html += fmt::format(
        "<div class=\"group\"><label><b>{}</b> <small>{} object{}</small> <input type=\"text\" data-group=\"{}\" "
        "aria-label=\"name of {}\" autocomplete=\"off\" spellcheck=\"false\"> <small class=\"note\" "
        "aria-live=\"polite\"></small></label><div class=\"crops\">",
        label, row.objects, row.objects == 1 ? "" : "s", word, row.group == 0 ? "the objects " + label : label);
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
