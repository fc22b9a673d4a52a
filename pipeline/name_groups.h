#pragma once
// Groups without names and a list of names -> categories: the COCO file that a detector with classes is trained on.
// Place: between pipeline/group_job.h and pipeline/train_job.h.

#include <string>

#include "usol/pipeline/run.h"

namespace usol {

struct NameGroupsConfig {
  std::string groups;           // COCO file of GroupJob
  std::string names;            // text file, a line a group: "3, cat"; see name_groups()
  std::string image_root = {};  // the pictures, for images whose height and width the file lacks; may be empty
};

/// Writes the COCO file `out`: the images of `groups`, and the objects of the groups that have a name. Each line of
/// `names` is the number of a group (or "other", the objects of none), a comma, and its name; empty lines and those
/// that begin with # count for nothing. Groups of one name become one category; a group whose name is "-", and one that
/// no line names, are left out. Categories are numbered from 1 in the order in which their names first occur. Returns
/// kSuccess. An `out` that exists is an error (kExists) unless run.existing is another than kRefuse. With run.dry_run
/// it says what would be done. Throws Error(kUsage) naming file and line for a group that is not in the file, named
/// twice or without a name, and if no object has a name, and what read_coco() throws.
int name_groups(const Run& run, const NameGroupsConfig& config, const std::string& out);

}  // namespace usol
