// usol group: objects -> groups that look alike, and, once a person has named them, categories. The work is in
// pipeline/group_job.h and pipeline/name_groups.h.
#include <string>
#include <vector>

#include "usol/cli/verb.h"
#include "usol/pipeline/group_job.h"
#include "usol/pipeline/name_groups.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class GroupVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Puts the objects of a COCO file, of any verb, into groups that look alike. Every object gets a group, its "
        "similarity to it and its margin to the next one; those that fit nowhere are \"other\". `usol report` shows "
        "the "
        "groups to be named, and --names makes categories of them: a file that `usol train` takes.");
    options.positional(
        "OBJECTS", objects_,
        "The objects: a COCO file, or a list of results with --image-list; with --names, a file of groups");
    job_.declare(options);
    options.group("Names");
    options.add("--names FILE", names_,
                "Text, a line a group: its number, a comma, its name. OBJECTS is a file of groups then; groups of one "
                "name become one category, those named - are left out, and those that are not named",
                OptionKind::kRun);
    outputs_.declare(options);
    options.example("usol group masks.json --image-root photos --weights dino.pth --out groups.json",
                    "Groups, as many as have the largest silhouette");
    options.example("usol report groups.json --images photos --out groups.html",
                    "A page to name them; it writes names.txt");
    options.example("usol group groups.json --names names.txt --out named.json", "Categories, for usol train");
  }

  int run(const Run& run, const Options& options) override {
    check(objects_.size() == 1, ErrorKind::kUsage, "expected one file of objects, got {}", objects_.size());
    check(!outputs_.coco.empty(), ErrorKind::kUsage, "--out FILE is missing");
    if (names_.empty()) {
      check(!job_.image_root.empty(), ErrorKind::kUsage, "--image-root DIR is missing: the folder of the pictures");
      job_.objects = objects_[0];
      return job_.run(run, outputs_);
    }
    for (const std::string& key : options.given())
      check(!is_grouping(key), ErrorKind::kUsage, "--{} is for grouping, and with --names the groups are there already",
            key);
    return run.by_leader([&] { return name_groups(run, {objects_[0], names_, job_.image_root}, outputs_.coco); });
  }
  bool shares_work() const override { return true; }

 private:
  // What says how groups are made.
  static bool is_grouping(const std::string& key) {
    for (const char* own : {"describe", "method", "groups", "threshold", "image-list", "vectors"})
      if (key == own) return true;
    return false;
  }

  GroupJob job_;
  GroupOutputs outputs_;
  std::vector<std::string> objects_;
  std::string names_;
};

const RegisterVerb<GroupVerb> kGroup("group", "objects that look alike, in groups; named groups as categories");

}  // namespace
}  // namespace usol::cli
