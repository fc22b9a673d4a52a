#include "usol/eval/clusters.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <set>
#include <utility>

#include "usol/eval/assignment.h"
#include "usol/tensor/check.h"

namespace usol::eval {
namespace {

constexpr double kLeastIou = 0.5;

// How many objects there are of each category and group.
struct Table {
  std::vector<std::int64_t> categories, groups;  // ascending
  std::vector<double> counts;                    // [groups, categories]

  Table(std::span<const std::int64_t> truth, std::span<const std::int64_t> found)
      : categories(distinct(truth)), groups(distinct(found)), counts(categories.size() * groups.size()) {
    for (std::size_t i = 0; i < truth.size(); ++i)
      ++counts[place(groups, found[i]) * categories.size() + place(categories, truth[i])];
  }
  double count(std::size_t group, std::size_t category) const { return counts[group * categories.size() + category]; }

  static std::vector<std::int64_t> distinct(std::span<const std::int64_t> labels) {
    const std::set<std::int64_t> all(labels.begin(), labels.end());
    return {all.begin(), all.end()};
  }
  static std::size_t place(const std::vector<std::int64_t>& sorted, std::int64_t label) {
    return static_cast<std::size_t>(std::lower_bound(sorted.begin(), sorted.end(), label) - sorted.begin());
  }
};

double entropy(const std::vector<double>& counts, double n) {
  double sum = 0;
  for (const double count : counts)
    if (count > 0) sum -= count / n * std::log(count / n);
  return sum;
}

double mutual_information(const Table& table, double n) {
  const std::size_t g = table.groups.size(), c = table.categories.size();
  std::vector<double> of_group(g), of_category(c);
  for (std::size_t i = 0; i < g; ++i)
    for (std::size_t j = 0; j < c; ++j) {
      of_group[i] += table.count(i, j);
      of_category[j] += table.count(i, j);
    }
  // With one group and one category there is nothing to tell apart, and no way to be wrong.
  if (g == 1 && c == 1) return 1;
  double shared = 0;
  for (std::size_t i = 0; i < g; ++i)
    for (std::size_t j = 0; j < c; ++j)
      if (const double both = table.count(i, j); both > 0)
        shared += both / n * std::log(both * n / (of_group[i] * of_category[j]));
  const double mean = (entropy(of_group, n) + entropy(of_category, n)) / 2;
  // One group alone shares nothing, but for what rounding leaves.
  return g == 1 || c == 1 || mean == 0 ? 0 : std::clamp(shared / mean, 0.0, 1.0);
}

// A prediction and the truth that it matches, by their positions.
struct Match {
  std::size_t prediction, truth;
};

class Matcher {
 public:
  Matcher(const io::AnnotationSet& truth, const io::AnnotationSet& predictions, IouType type)
      : truth_(truth), predictions_(predictions), type_(type), images_(io::index_images(truth)) {}

  std::vector<Match> matches() {
    std::vector<std::vector<std::size_t>> truths(truth_.images.size()), found(truth_.images.size());
    for (std::size_t i = 0; i < truth_.annotations.size(); ++i)
      if (!truth_.annotations[i].is_crowd) truths[image_of(truth_, truth_.annotations[i])].push_back(i);
    for (std::size_t i = 0; i < predictions_.annotations.size(); ++i)
      found[image_of(predictions_, predictions_.annotations[i])].push_back(i);
    std::vector<Match> all;
    for (std::size_t image = 0; image < truths.size(); ++image) match(image, truths[image], found[image], all);
    return all;
  }

 private:
  std::size_t image_of(const io::AnnotationSet& set, const io::CocoAnnotation& annotation) const {
    const std::int64_t at = images_.find(annotation.image_id);
    check(
        at >= 0, ErrorKind::kFormat,
        "{}.image_id: {} is no image of {}; if the two files number their images differently, match them by file name",
        set.place(annotation), annotation.image_id, truth_.name);
    check(annotation.has_category, ErrorKind::kFormat, "{}.category_id: missing", set.place(annotation));
    return static_cast<std::size_t>(at);
  }

  void match(std::size_t image, const std::vector<std::size_t>& truths, std::vector<std::size_t> found,
             std::vector<Match>& to) const {
    if (truths.empty() || found.empty()) return;
    std::stable_sort(found.begin(), found.end(), [&](std::size_t a, std::size_t b) {
      return predictions_.annotations[a].score > predictions_.annotations[b].score;
    });
    const std::vector<double> ious = overlaps(image, found, truths);
    std::vector<bool> taken(truths.size(), false);
    for (std::size_t i = 0; i < found.size(); ++i) {
      std::size_t best = truths.size();
      for (std::size_t j = 0; j < truths.size(); ++j) {
        const double iou = ious[i * truths.size() + j];
        if (taken[j] || iou < kLeastIou) continue;
        if (best == truths.size() || iou > ious[i * truths.size() + best]) best = j;
      }
      if (best == truths.size()) continue;
      taken[best] = true;
      to.push_back({found[i], truths[best]});
    }
  }

  std::vector<double> overlaps(std::size_t image, const std::vector<std::size_t>& found,
                               const std::vector<std::size_t>& truths) const {
    if (type_ == IouType::kBox) return io::box_iou(boxes(predictions_, found), boxes(truth_, truths));
    const io::CocoImage& about = truth_.images[image];
    return io::rle_iou(masks(predictions_, found, about), masks(truth_, truths, about));
  }

  static std::vector<io::Box> boxes(const io::AnnotationSet& set, const std::vector<std::size_t>& positions) {
    std::vector<io::Box> all;
    for (const std::size_t i : positions) {
      check(set.annotations[i].has_box, ErrorKind::kFormat, "{}.bbox: missing", set.place(set.annotations[i]));
      all.push_back(set.annotations[i].box);
    }
    return all;
  }

  static std::vector<io::Rle> masks(const io::AnnotationSet& set, const std::vector<std::size_t>& positions,
                                    const io::CocoImage& image) {
    std::vector<io::Rle> all;
    for (const std::size_t i : positions) all.push_back(set.rle(set.annotations[i], image.height, image.width));
    return all;
  }

  const io::AnnotationSet& truth_;
  const io::AnnotationSet& predictions_;
  IouType type_;
  io::IdIndex images_;
};

// The groups of the predictions: their categories, or in a list of results the ids that occur.
std::vector<GroupAssignment::Group> list_groups(const io::AnnotationSet& predictions) {
  std::map<std::int64_t, GroupAssignment::Group> by_id;
  for (const io::CocoCategory& category : predictions.categories) {
    GroupAssignment::Group& group = by_id[category.id];
    group.name = category.name;
    group.is_none = category.supercategory == kNoGroup;
  }
  for (const io::CocoAnnotation& annotation : predictions.annotations) by_id.try_emplace(annotation.category_id);
  std::vector<GroupAssignment::Group> groups;
  for (auto& [id, group] : by_id) {
    group.id = id;
    groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace

Metrics Agreement::metrics() const { return {{"purity", purity}, {"NMI", nmi}, {"accuracy", accuracy}}; }

Agreement agreement(std::span<const std::int64_t> truth, std::span<const std::int64_t> groups) {
  check(truth.size() == groups.size(), "agreement: expected a category for each object, got {} for {}", truth.size(),
        groups.size());
  Agreement result;
  result.objects = static_cast<std::int64_t>(truth.size());
  if (truth.empty()) return result;
  const Table table(truth, groups);
  const auto n = static_cast<double>(truth.size());
  double most = 0, right = 0;
  for (std::size_t g = 0; g < table.groups.size(); ++g) {
    double largest = 0;
    for (std::size_t c = 0; c < table.categories.size(); ++c) largest = std::max(largest, table.count(g, c));
    most += largest;
  }
  const Assignment pairs = largest_assignment(table.counts, static_cast<std::int64_t>(table.groups.size()),
                                              static_cast<std::int64_t>(table.categories.size()));
  for (std::size_t i = 0; i < pairs.rows.size(); ++i)
    right += table.count(static_cast<std::size_t>(pairs.rows[i]), static_cast<std::size_t>(pairs.columns[i]));
  result.purity = most / n;
  result.nmi = mutual_information(table, n);
  result.accuracy = right / n;
  return result;
}

GroupAssignment assign_groups(const io::AnnotationSet& truth, const io::AnnotationSet& predictions, IouType type) {
  check(!truth.categories.empty(), ErrorKind::kFormat, "{}: the truth has no categories to assign groups to",
        truth.name);
  std::vector<std::int64_t> categories, groups;
  for (const Match& match : Matcher(truth, predictions, type).matches()) {
    categories.push_back(truth.annotations[match.truth].category_id);
    groups.push_back(predictions.annotations[match.prediction].category_id);
  }
  GroupAssignment result;
  result.groups = list_groups(predictions);
  result.agreement = agreement(categories, groups);
  if (categories.empty()) return result;

  const Table table(categories, groups);
  std::vector<double> gains = table.counts;
  for (std::size_t g = 0; g < table.groups.size(); ++g)
    for (const GroupAssignment::Group& group : result.groups)
      if (group.id == table.groups[g] && group.is_none)
        std::fill_n(gains.begin() + static_cast<std::ptrdiff_t>(g * table.categories.size()), table.categories.size(),
                    0.0);
  const Assignment pairs = largest_assignment(gains, static_cast<std::int64_t>(table.groups.size()),
                                              static_cast<std::int64_t>(table.categories.size()));
  std::map<std::int64_t, std::string> names;
  for (const io::CocoCategory& category : truth.categories) names[category.id] = category.name;
  double right = 0;
  for (GroupAssignment::Group& group : result.groups) {
    group.matched = std::count(groups.begin(), groups.end(), group.id);
    const auto row = static_cast<std::int64_t>(Table::place(table.groups, group.id));
    const auto at = std::find(pairs.rows.begin(), pairs.rows.end(), row);
    if (group.matched == 0 || group.is_none || at == pairs.rows.end()) continue;
    const auto column = static_cast<std::size_t>(pairs.columns[static_cast<std::size_t>(at - pairs.rows.begin())]);
    group.right = std::llround(table.count(static_cast<std::size_t>(row), column));
    if (group.right == 0) continue;  // paired with what was left
    group.category = table.categories[column];
    group.category_name = names[*group.category];
    right += static_cast<double>(group.right);
  }
  result.agreement.accuracy = right / static_cast<double>(groups.size());
  return result;
}

std::int64_t take_categories(io::AnnotationSet& predictions, const GroupAssignment& assignment) {
  std::map<std::int64_t, std::int64_t> category_of;
  for (const GroupAssignment::Group& group : assignment.groups)
    if (group.category) category_of[group.id] = *group.category;
  for (std::size_t i = 0; i < predictions.annotations.size(); ++i)  // records keep the places they had in the file
    if (predictions.annotations[i].record < 0) predictions.annotations[i].record = static_cast<std::int64_t>(i);
  const auto left_out = std::erase_if(predictions.annotations, [&](const io::CocoAnnotation& annotation) {
    return !category_of.contains(annotation.category_id);
  });
  for (io::CocoAnnotation& annotation : predictions.annotations)
    annotation.category_id = category_of.at(annotation.category_id);
  return static_cast<std::int64_t>(left_out);
}

}  // namespace usol::eval
