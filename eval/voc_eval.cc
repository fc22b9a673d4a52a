#include "usol/eval/voc_eval.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <set>
#include <utility>

#include "usol/eval/assignment.h"
#include "usol/eval/clusters.h"
#include "usol/io/rle.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::eval {
namespace {

// IoU .50:.05:.95, the doubles that LOST's code has.
double threshold(std::int64_t index) { return static_cast<double>(50 + 5 * index) / 100; }

struct Truth {
  io::Box box;
  bool difficult = false;
};

struct Found {
  std::size_t image = 0;
  io::Box box;
  double score = 0;
};

// The truths of one category.
struct Wanted {
  std::map<std::size_t, std::vector<Truth>> of_image;
  std::int64_t count = 0;  // not difficult
};

double overlap(const io::Box& a, const io::Box& b) {
  const double width = std::min(a[0] + a[2], b[0] + b[2]) - std::max(a[0], b[0]);
  const double height = std::min(a[1] + a[3], b[1] + b[3]) - std::max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const double shared = width * height;
  return shared / (a[2] * a[3] + b[2] * b[3] - shared);
}

// The area below the falling envelope of precision over recall.
double area_below(const std::vector<double>& recall, std::vector<double> precision) {
  for (std::size_t i = precision.size(); i-- > 1;) precision[i - 1] = std::max(precision[i - 1], precision[i]);
  double area = 0, before = 0;
  for (std::size_t i = 0; i < recall.size(); ++i) {
    area += (recall[i] - before) * precision[i];
    before = recall[i];
  }
  return area;
}

// `found` by descending score.
double average_precision(const std::vector<Found>& found, const Wanted& wanted, double least) {
  std::set<std::pair<std::size_t, std::size_t>> taken;
  std::vector<double> recall, precision;
  double right = 0, wrong = 0;
  for (const Found& f : found) {
    const auto truths = wanted.of_image.find(f.image);
    double best = -1;
    std::size_t best_truth = 0;
    for (std::size_t t = 0; truths != wanted.of_image.end() && t < truths->second.size(); ++t) {
      const double iou = overlap(f.box, truths->second[t].box);
      if (iou > best) {
        best = iou;
        best_truth = t;
      }
    }
    if (best <= least) {
      ++wrong;
    } else if (!truths->second[best_truth].difficult) {
      if (taken.emplace(f.image, best_truth).second)
        ++right;
      else
        ++wrong;
    }
    recall.push_back(right / static_cast<double>(wanted.count));
    precision.push_back(right + wrong > 0 ? right / (right + wrong) : 0);
  }
  return area_below(recall, std::move(precision));
}

class Evaluation {
 public:
  Evaluation(const io::AnnotationSet& truth, const io::AnnotationSet& predictions, VocGroups groups) : groups_(groups) {
    check(!truth.is_results, ErrorKind::kFormat,
          "{}: expected a COCO data set with images, got a list of results as the truth", truth.name);
    const io::IdIndex images = io::index_images(truth);
    for (const io::CocoCategory& category : truth.categories) {
      wanted_[category.id];
      names_[category.id] = category.name;
    }
    const auto image_of = [&](const io::AnnotationSet& set, const io::CocoAnnotation& annotation) {
      const std::int64_t image = images.find(annotation.image_id);
      check(image >= 0, ErrorKind::kFormat, "{}.image_id: {} is no image of {}", set.place(annotation),
            annotation.image_id, truth.name);
      check(annotation.has_box, ErrorKind::kFormat, "{}.bbox: missing", set.place(annotation));
      return static_cast<std::size_t>(image);
    };
    for (const io::CocoAnnotation& annotation : truth.annotations) {
      const auto category = wanted_.find(annotation.category_id);
      check(category != wanted_.end(), ErrorKind::kFormat, "{}.category_id: expected the id of a category",
            truth.place(annotation));
      category->second.of_image[image_of(truth, annotation)].push_back({annotation.box, annotation.is_crowd});
      category->second.count += !annotation.is_crowd;
    }
    std::set<std::int64_t> none;  // objects of no group
    for (const io::CocoCategory& category : predictions.categories)
      if (groups == VocGroups::kAreAssigned && category.supercategory == kNoGroup) none.insert(category.id);
    for (const io::CocoAnnotation& annotation : predictions.annotations) {
      if (annotation.has_category && none.contains(annotation.category_id)) continue;
      check(annotation.has_score, ErrorKind::kFormat, "{}.score: missing", predictions.place(annotation));
      check(annotation.has_category, ErrorKind::kFormat, "{}.category_id: missing", predictions.place(annotation));
      found_[annotation.category_id].push_back({image_of(predictions, annotation), annotation.box, annotation.score});
    }
    for (auto& [group, of_group] : found_)
      std::stable_sort(of_group.begin(), of_group.end(),
                       [](const Found& a, const Found& b) { return a.score > b.score; });
  }

  VocEvalResult run() const {
    const std::map<std::int64_t, std::int64_t> group_of = groups_ == VocGroups::kAreAssigned ? assigned() : own();
    VocEvalResult result;
    std::set<std::int64_t> scored;
    std::array<double, 3> sums{};
    std::int64_t counted = 0;
    for (const auto& [id, wanted] : wanted_) {
      VocEvalResult::Category category{id, names_.at(id), wanted.count, {}, {}};
      std::array<double, 3> values{-1, -1, -1};  // AP, AP50, AP75
      if (const auto group = group_of.find(id); group != group_of.end()) {
        category.group = group->second;
        scored.insert(group->second);
      }
      if (wanted.count > 0) {
        std::array<double, 10> each{};
        if (category.group)
          parallel_for_each(0, 10, [&](std::int64_t t) {
            const auto at = static_cast<std::size_t>(t);
            each[at] = average_precision(found_.at(*category.group), wanted, threshold(t));
          });
        double sum = 0;
        for (const double ap : each) sum += ap;
        values = {sum / 10, each[0], each[5]};
        for (std::size_t i = 0; i < 3; ++i) sums[i] += values[i];
        ++counted;
      }
      category.metrics = named(values);
      result.categories.push_back(std::move(category));
    }
    for (double& sum : sums) sum = counted > 0 ? sum / static_cast<double>(counted) : -1;
    result.metrics = named(sums);
    for (const auto& [group, of_group] : found_)
      if (!scored.contains(group)) result.unknown_category += static_cast<std::int64_t>(of_group.size());
    return result;
  }

 private:
  static Metrics named(const std::array<double, 3>& values) {
    return {{"AP", values[0]}, {"AP50", values[1]}, {"AP75", values[2]}};
  }

  std::map<std::int64_t, std::int64_t> own() const {
    std::map<std::int64_t, std::int64_t> same;
    for (const auto& [id, wanted] : wanted_)
      if (found_.contains(id)) same[id] = id;
    return same;
  }

  // Categories without truths would be worth the same whatever they get, so they take no part.
  std::map<std::int64_t, std::int64_t> assigned() const {
    std::vector<std::int64_t> categories, groups;
    for (const auto& [id, wanted] : wanted_)
      if (wanted.count > 0) categories.push_back(id);
    for (const auto& [group, of_group] : found_) groups.push_back(group);
    std::map<std::int64_t, std::int64_t> result;
    if (categories.empty() || groups.empty()) return result;
    std::vector<double> gains(categories.size() * groups.size());
    parallel_for_each(0, static_cast<std::int64_t>(gains.size()), [&](std::int64_t i) {
      const auto at = static_cast<std::size_t>(i);
      gains[at] = average_precision(found_.at(groups[at % groups.size()]), wanted_.at(categories[at / groups.size()]),
                                    threshold(0));
    });
    const Assignment best = largest_assignment(gains, static_cast<std::int64_t>(categories.size()),
                                               static_cast<std::int64_t>(groups.size()));
    for (std::size_t i = 0; i < best.rows.size(); ++i)
      result[categories[static_cast<std::size_t>(best.rows[i])]] = groups[static_cast<std::size_t>(best.columns[i])];
    return result;
  }

  VocGroups groups_;
  std::map<std::int64_t, Wanted> wanted_;  // by category
  std::map<std::int64_t, std::string> names_;
  std::map<std::int64_t, std::vector<Found>> found_;  // by group
};

}  // namespace

VocEvalResult evaluate_voc(const io::AnnotationSet& truth, const io::AnnotationSet& predictions, VocGroups groups) {
  return Evaluation(truth, predictions, groups).run();
}

}  // namespace usol::eval
