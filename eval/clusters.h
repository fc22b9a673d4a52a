#pragma once
// How well groups without names agree with the truth's categories, and which category each group is taken for.
// Place: judges `usol group` and detectors trained on its groups, before the metrics of eval/coco_eval.h.
// Source: purity and normalized mutual information as in Manning et al. 2008, chapter 16.3 (the latter by the
// arithmetic mean of the entropies, scikit-learn's default); accuracy after the best assignment as in Yang et al. 2010.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "usol/eval/coco_eval.h"
#include "usol/eval/metrics.h"
#include "usol/io/coco.h"

namespace usol::eval {

/// The category that holds the objects of no group: its name, and its supercategory, by which it is known.
inline constexpr const char* kNoGroup = "other";

/// Of n objects; each is -1 without objects.
struct Agreement {
  double purity = -1;    // share of objects that have the most frequent category of their group
  double nmi = -1;       // normalized mutual information, 0 ... 1
  double accuracy = -1;  // share of objects whose group is assigned to their category, by the best assignment
  std::int64_t objects = 0;

  Metrics metrics() const;  // purity, NMI, accuracy
};

/// `truth[i]` and `groups[i]`: category and group of object i. Equal to scikit-learn's normalized_mutual_info_score and
/// SciPy's linear_sum_assignment over the table of counts. Throws Error if the two differ in length.
Agreement agreement(std::span<const std::int64_t> truth, std::span<const std::int64_t> groups);

/// The category of the truth that each group of the predictions is taken for.
struct GroupAssignment {
  struct Group {
    std::int64_t id = 0;                        // of the predictions' category
    std::string name;                           // empty in a list of results
    bool is_none = false;                       // it holds the objects of no group
    std::optional<std::int64_t> category = {};  // of the truth; none: there are more groups than categories, or none of
                                                // its objects is in the truth
    std::string category_name = {};
    std::int64_t matched = 0, right = 0;  // its objects that have one of the truth, and those of that category
  };
  std::vector<Group> groups;  // by ascending id
  Agreement agreement;        // over the objects that match one of the truth
};

/// Objects match, as in COCO's protocol but across categories: in each image, best scores first, each takes the truth
/// of highest IoU (at least 0.5) that is still free; crowds are left out. Groups are then assigned so that as many
/// matching objects as possible have their group's category; what holds the objects of no group is never assigned, and
/// they count as wrong. Throws Error as evaluate_coco().
GroupAssignment assign_groups(const io::AnnotationSet& truth, const io::AnnotationSet& predictions, IouType type);

/// Gives the predictions the categories that their groups are taken for; those of groups without one are left out.
/// Returns how many these were.
std::int64_t take_categories(io::AnnotationSet& predictions, const GroupAssignment& assignment);

}  // namespace usol::eval
