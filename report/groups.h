#pragma once
// Groups of objects (pipeline/group_job.h) as rows of crops, for a person to look at and to name.
// Place: a section of report/report.h's page.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "usol/io/coco.h"

namespace usol::report {

/// What a file of groups says of an object beside its record.
struct GroupedObject {
  std::size_t annotation = 0;  // its position in the set
  std::int64_t group = 0;      // 0: in none
  double similarity = 0, margin = 0;
};

/// Of each annotation of `set` that has "group", "similarity" and "margin" in the file it was read from; none if the
/// file holds no groups. Throws Error(kFormat) naming the annotation if one of the three is missing or no number.
std::vector<GroupedObject> read_grouped_objects(const std::filesystem::path& path, const io::AnnotationSet& set);

/// A group's objects to look at, by their positions in the set.
struct GroupRow {
  std::int64_t group = 0;
  std::int64_t objects = 0;
  std::vector<std::size_t> typical;   // those of highest similarity, the most typical first
  std::vector<std::size_t> marginal;  // of the others those of least margin, the least first
};

/// Rows by the number of their group, at last the objects of none, if there are any.
std::vector<GroupRow> group_rows(const std::vector<GroupedObject>& objects, std::size_t typical, std::size_t marginal);

/// What a page has of the rows.
struct ShownGroups {
  std::vector<GroupRow> rows;
  std::int64_t groups = 0, objects = 0;  // of the rows that were left out
};

/// The first `most` of the rows, which usol group numbers by their size, and that of the objects of none.
ShownGroups first_groups(std::vector<GroupRow> rows, std::size_t most);

/// The rows with a box for a name each, and the button that saves the names file. `file`: the name of the file of
/// groups, for the command to go on with. `crop`: the picture of an annotation as a data URI, empty if it cannot be
/// shown; `title`: what it says beside it.
std::string group_rows_html(const ShownGroups& shown, const std::string& file,
                            const std::function<std::string(std::size_t)>& crop,
                            const std::function<std::string(std::size_t)>& title);

}  // namespace usol::report
