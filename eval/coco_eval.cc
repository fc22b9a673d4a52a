// The COCO protocol in three steps: group records by image and category; match each group (in parallel), keeping two
// bits per detection, area range and threshold; accumulate each category over all images in order of score.
#include "usol/eval/coco_eval.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <tuple>

#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol::eval {

namespace {

constexpr int kThresholds = 10, kRecallPoints = 101, kAreas = 4;
constexpr std::array<std::pair<double, double>, kAreas> kAreaRanges = {
    {{0, 1e10}, {0, 32 * 32}, {32 * 32, 96 * 96}, {96 * 96, 1e10}}};
constexpr std::array<const char*, kAreas> kAreaSuffix = {"", "s", "m", "l"};
constexpr double kEpsilon = std::numeric_limits<double>::epsilon();

bool outside(double area, int range) {
  return area < kAreaRanges[static_cast<std::size_t>(range)].first ||
         area > kAreaRanges[static_cast<std::size_t>(range)].second;
}

// One truth or detection, by the positions of its image and category.
struct Item {
  std::int32_t image = 0;
  std::int32_t category = 0;  // 0 if class-agnostic
  std::uint32_t record = 0;   // in its AnnotationSet
};

// What matching decides about a detection: bit t of each mask is threshold t.
struct Outcome {
  std::array<std::uint16_t, kAreas> matched{}, ignored{};
};

// A run of items of one image and category.
struct Group {
  std::uint32_t first_truth = 0, last_truth = 0;
  std::uint32_t first_detection = 0, last_detection = 0;
};

std::uint16_t bit(int threshold) { return static_cast<std::uint16_t>(1u << threshold); }

void require_mask(const io::AnnotationSet& set, const io::CocoAnnotation& annotation) {
  check(
      annotation.segmentation.kind != io::Segmentation::Kind::kNone, ErrorKind::kFormat,
      "{}: expected a segmentation, got none: where masks are compared, every annotation needs one; draw it, take the "
      "annotation out of the file, or compare boxes alone",
      set.place(annotation));
}

class Evaluation {
 public:
  Evaluation(const io::AnnotationSet& truth, const io::AnnotationSet& predictions, IouType type,
             const CocoEvalOptions& options)
      : truth_(truth),
        predictions_(predictions),
        type_(type),
        options_(options),
        thresholds_(coco_iou_thresholds()),
        recall_points_(coco_recall_points()) {
    check(!options.max_dets.empty() && options.max_dets.front() > 0 &&
              std::is_sorted(options.max_dets.begin(), options.max_dets.end()),
          ErrorKind::kUsage, "max-dets: expected ascending numbers above 0, got {}", fmt::join(options.max_dets, ","));
    list_images_and_categories();
    list_truths();
    list_detections();
    find_groups();
  }

  CocoEvalResult run() {
    outcomes_.resize(detections_.size());
    // Groups are small, so threads take them by the dozen; a little set is done before threads have started.
    constexpr std::int64_t kGroupsPerTask = 32;
    const auto groups = static_cast<std::int64_t>(groups_.size());
    parallel_for_each(0, (groups + kGroupsPerTask - 1) / kGroupsPerTask, [&](std::int64_t task) {
      const std::int64_t last = std::min(groups, (task + 1) * kGroupsPerTask);
      for (std::int64_t g = task * kGroupsPerTask; g < last; ++g) match(groups_[static_cast<std::size_t>(g)]);
    });
    accumulate();
    return std::move(result_);
  }

 private:
  // ---- grouping ----

  void list_images_and_categories() {
    check(!truth_.is_results, ErrorKind::kFormat,
          "{}: expected a COCO data set with images, got a list of results as the truth", truth_.name);
    check(options_.class_agnostic || !truth_.categories.empty(), ErrorKind::kFormat,
          "{}: the truth has no categories; compare class-agnostically", truth_.name);
    std::vector<std::int64_t> ids;
    for (const io::CocoImage& image : truth_.images) ids.push_back(image.id);
    std::vector<std::int32_t> order(ids.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int32_t>(i);
    std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return ids[static_cast<std::size_t>(a)] < ids[static_cast<std::size_t>(b)];
    });
    images_ = std::move(order);
    std::sort(ids.begin(), ids.end());
    image_ranks_ = io::IdIndex(ids);

    if (options_.class_agnostic) {
      result_.categories.push_back({-1, "fg", 0, 0, {}});
      return;
    }
    for (const io::CocoCategory& category : truth_.categories) {
      result_.categories.push_back({category.id, category.name, 0, 0, {}});
    }
    std::sort(result_.categories.begin(), result_.categories.end(),
              [](const auto& a, const auto& b) { return a.id < b.id; });
    std::vector<std::int64_t> category_ids;
    for (const auto& category : result_.categories) category_ids.push_back(category.id);
    category_ranks_ = io::IdIndex(std::move(category_ids));
  }

  // Rank of the annotation's category, or -1 if the truth lacks it.
  std::int32_t category_rank(const io::CocoAnnotation& annotation) const {
    if (options_.class_agnostic) return 0;
    return annotation.has_category ? static_cast<std::int32_t>(category_ranks_.find(annotation.category_id)) : -1;
  }

  void list_truths() {
    for (std::size_t i = 0; i < truth_.annotations.size(); ++i) {
      const io::CocoAnnotation& annotation = truth_.annotations[i];
      check(annotation.has_area, ErrorKind::kFormat, "{}.area: missing", truth_.place(annotation));
      check(type_ == IouType::kMask || annotation.has_box, ErrorKind::kFormat, "{}.bbox: missing",
            truth_.place(annotation));
      const Item item{static_cast<std::int32_t>(image_ranks_.find(annotation.image_id)), category_rank(annotation),
                      static_cast<std::uint32_t>(i)};
      check(item.image >= 0, ErrorKind::kFormat, "{}.image_id: expected the id of an image, got {}",
            truth_.place(annotation), annotation.image_id);
      check(item.category >= 0, ErrorKind::kFormat, "{}.category_id: expected the id of a category",
            truth_.place(annotation));
      truths_.push_back(item);
    }
    // The category's id counts even if categories are not compared: it decides between equal overlaps.
    std::sort(truths_.begin(), truths_.end(), [&](const Item& a, const Item& b) {
      return std::tuple(a.image, truth_.annotations[a.record].category_id, a.record) <
             std::tuple(b.image, truth_.annotations[b.record].category_id, b.record);
    });
  }

  void list_detections() {
    for (std::size_t i = 0; i < predictions_.annotations.size(); ++i) {
      const io::CocoAnnotation& annotation = predictions_.annotations[i];
      const Item item{static_cast<std::int32_t>(image_ranks_.find(annotation.image_id)), category_rank(annotation),
                      static_cast<std::uint32_t>(i)};
      check(item.image >= 0, ErrorKind::kFormat,
            "{}.image_id: {} is no image of {}; if the two files number their images differently, match them by file "
            "name",
            predictions_.place(annotation), annotation.image_id, truth_.name);
      check(annotation.has_score, ErrorKind::kFormat, "{}.score: missing", predictions_.place(annotation));
      if (item.category < 0) {
        check(annotation.has_category, ErrorKind::kFormat, "{}.category_id: missing", predictions_.place(annotation));
        ++result_.unknown_category;
        continue;
      }
      detections_.push_back(item);
    }
    const auto score = [&](const Item& item) { return predictions_.annotations[item.record].score; };
    const auto category_id = [&](const Item& item) { return predictions_.annotations[item.record].category_id; };
    std::sort(detections_.begin(), detections_.end(), [&](const Item& a, const Item& b) {
      return std::tuple(a.image, a.category, -score(a), category_id(a), a.record) <
             std::tuple(b.image, b.category, -score(b), category_id(b), b.record);
    });
    // Only the best of each image and category take part.
    const auto most = static_cast<std::uint32_t>(options_.max_dets.back());
    std::size_t kept = 0;
    std::uint32_t rank = 0;
    Item last{-1, -1, 0};
    for (const Item& item : detections_) {
      rank = item.image == last.image && item.category == last.category ? rank + 1 : 0;
      last = item;
      if (rank >= most) continue;
      detections_[kept++] = item;
      ranks_.push_back(rank);
      scores_.push_back(score(item));
    }
    detections_.resize(kept);
  }

  void find_groups() {
    const auto key = [](const Item& item) { return std::pair(item.image, item.category); };
    std::uint32_t t = 0, d = 0;
    while (t < truths_.size() || d < detections_.size()) {
      const auto next = t == truths_.size()       ? key(detections_[d])
                        : d == detections_.size() ? key(truths_[t])
                                                  : std::min(key(truths_[t]), key(detections_[d]));
      Group group{t, t, d, d};
      while (group.last_truth < truths_.size() && key(truths_[group.last_truth]) == next) ++group.last_truth;
      while (group.last_detection < detections_.size() && key(detections_[group.last_detection]) == next) {
        ++group.last_detection;
      }
      groups_.push_back(group);
      t = group.last_truth;
      d = group.last_detection;
    }
  }

  // ---- matching ----

  const io::CocoAnnotation& truth(const Item& item) const { return truth_.annotations[item.record]; }
  const io::CocoAnnotation& detection(const Item& item) const { return predictions_.annotations[item.record]; }

  const io::CocoImage& sized_image(const Item& item) const {
    const io::CocoImage& image = truth_.images[static_cast<std::size_t>(images_[static_cast<std::size_t>(item.image)])];
    check(image.height > 0 && image.width > 0, ErrorKind::kFormat,
          "{}: image {} has no height and width, which masks need; they can be read from the pictures (image-root)",
          truth_.name, image.id);
    return image;
  }

  io::Rle mask(const io::AnnotationSet& set, const Item& item) const {
    const io::CocoImage& image = sized_image(item);
    require_mask(set, set.annotations[item.record]);
    return set.rle(set.annotations[item.record], image.height, image.width);
  }

  double mask_area(const Item& item) const {
    const io::CocoImage& image = sized_image(item);
    require_mask(predictions_, detection(item));
    return static_cast<double>(predictions_.mask_area(detection(item), image.height, image.width));
  }

  io::Box box(const Item& item) const {
    const io::CocoAnnotation& annotation = detection(item);
    if (annotation.has_box) return annotation.box;
    check(annotation.segmentation.kind != io::Segmentation::Kind::kNone, ErrorKind::kFormat,
          "{}: expected a bbox or a segmentation, got neither", predictions_.place(annotation));
    return io::rle_to_box(mask(predictions_, item));
  }

  // IoU of the group's detections with its truths, [D, G], and the detections' areas.
  std::vector<double> overlaps(std::span<const Item> detections, std::span<const Item> truths,
                               std::vector<double>& areas) const {
    std::vector<std::uint8_t> crowd;
    for (const Item& item : truths) crowd.push_back(truth(item).is_crowd);
    if (type_ == IouType::kMask) {
      std::vector<io::Rle> a, b;
      for (const Item& item : detections) areas.push_back(mask_area(item));
      if (truths.empty()) return {};  // most detections of a class: their masks need no decoding
      for (const Item& item : detections) a.push_back(mask(predictions_, item));
      for (const Item& item : truths) b.push_back(mask(truth_, item));
      return io::rle_iou(a, b, crowd);
    }
    std::vector<io::Box> a, b;
    for (const Item& item : detections) {
      a.push_back(box(item));
      areas.push_back(a.back()[2] * a.back()[3]);
    }
    for (const Item& item : truths) b.push_back(truth(item).box);
    return io::box_iou(a, b, crowd);
  }

  struct Candidate {
    std::uint32_t truth;
    double iou;
  };

  void match(const Group& group) {
    const std::span truths =
        std::span<const Item>(truths_).subspan(group.first_truth, group.last_truth - group.first_truth);
    const std::span detections =
        std::span<const Item>(detections_).subspan(group.first_detection, group.last_detection - group.first_detection);
    if (detections.empty()) return;
    std::vector<double> areas;
    const std::vector<double> ious = overlaps(detections, truths, areas);
    // Truths that no threshold accepts are left out from here on.
    std::vector<std::vector<Candidate>> candidates(detections.size());
    for (std::size_t d = 0; d < detections.size(); ++d) {
      for (std::size_t g = 0; g < truths.size(); ++g) {
        const double iou = ious[d * truths.size() + g];
        if (iou >= thresholds_.front()) candidates[d].push_back({static_cast<std::uint32_t>(g), iou});
      }
    }
    std::vector<std::uint8_t> crowd, ignored(truths.size()), taken(truths.size());
    for (const Item& item : truths) crowd.push_back(truth(item).is_crowd);
    for (int a = 0; a < kAreas; ++a) {
      for (std::size_t g = 0; g < truths.size(); ++g) ignored[g] = crowd[g] || outside(truth(truths[g]).area, a);
      for (int t = 0; t < kThresholds; ++t) {
        std::fill(taken.begin(), taken.end(), std::uint8_t{0});
        for (std::size_t d = 0; d < detections.size(); ++d) {
          Outcome& outcome = outcomes_[group.first_detection + d];
          const auto best = best_match(candidates[d], ignored, taken, crowd, thresholds_[static_cast<std::size_t>(t)]);
          if (best) {
            taken[*best] = 1;
            outcome.matched[static_cast<std::size_t>(a)] |= bit(t);
            if (ignored[*best]) outcome.ignored[static_cast<std::size_t>(a)] |= bit(t);
          } else if (outside(areas[d], a)) {
            outcome.ignored[static_cast<std::size_t>(a)] |= bit(t);
          }
        }
      }
    }
  }

  // The truth of largest IoU, the last of equals; an ignored one only if no other fits. Crowds match any number.
  static std::optional<std::uint32_t> best_match(const std::vector<Candidate>& candidates,
                                                 const std::vector<std::uint8_t>& ignored,
                                                 const std::vector<std::uint8_t>& taken,
                                                 const std::vector<std::uint8_t>& crowd, double threshold) {
    std::optional<std::uint32_t> best;
    double best_iou = std::min(threshold, 1 - 1e-10);
    for (const bool want_ignored : {false, true}) {
      for (const Candidate& candidate : candidates) {
        const std::uint32_t g = candidate.truth;
        if ((ignored[g] != 0) != want_ignored || (taken[g] && !crowd[g]) || candidate.iou < best_iou) continue;
        best = g;
        best_iou = candidate.iou;
      }
      if (best) break;
    }
    return best;
  }

  // ---- accumulating ----

  struct Curve {
    double recall = -1;
    std::array<double, kRecallPoints> precision, scores;
  };

  // One category, area range, threshold and number of detections. `order`: the category's detections by score.
  Curve curve(std::span<const std::uint32_t> order, std::int64_t truths, int area, int threshold, int max_dets,
              std::vector<double>& precisions, std::vector<double>& scores) const {
    Curve result;
    result.precision.fill(truths > 0 ? 0 : -1);
    result.scores.fill(truths > 0 ? 0 : -1);
    if (truths == 0) return result;
    precisions.clear();
    scores.clear();
    double true_positives = 0, false_positives = 0;
    std::optional<double> top_score;
    for (const std::uint32_t d : order) {
      if (ranks_[d] >= static_cast<std::uint32_t>(max_dets)) continue;
      if (!top_score) top_score = scores_[d];
      const Outcome& outcome = outcomes_[d];
      if (outcome.ignored[static_cast<std::size_t>(area)] & bit(threshold)) continue;
      if (outcome.matched[static_cast<std::size_t>(area)] & bit(threshold)) {
        ++true_positives;
        precisions.push_back(true_positives / (false_positives + true_positives + kEpsilon));
        scores.push_back(scores_[d]);
      } else {
        ++false_positives;
      }
    }
    const auto n = static_cast<double>(truths);
    result.recall = true_positives / n;
    // Precision at a recall is the best at this or any higher recall.
    for (std::size_t i = precisions.size(); i-- > 1;) precisions[i - 1] = std::max(precisions[i - 1], precisions[i]);
    std::size_t k = 0;
    for (int r = 0; r < kRecallPoints; ++r) {
      const auto point = static_cast<std::size_t>(r);
      while (k < precisions.size() && static_cast<double>(k + 1) / n < recall_points_[point]) ++k;
      if (k < precisions.size()) {
        result.precision[point] = precisions[k];
        result.scores[point] = scores[k];
      }
    }
    // Recall 0 is reached by the first detection, right or wrong.
    if (top_score) result.scores[0] = *top_score;
    return result;
  }

  void accumulate() {
    const std::size_t category_count = result_.categories.size();
    std::vector<std::array<std::int64_t, kAreas>> truth_counts(category_count);
    for (const Item& item : truths_) {
      const io::CocoAnnotation& annotation = truth(item);
      if (annotation.is_crowd) continue;
      for (int a = 0; a < kAreas; ++a) {
        truth_counts[static_cast<std::size_t>(item.category)][static_cast<std::size_t>(a)] +=
            !outside(annotation.area, a);
      }
    }
    // Detections of each category, in the order of images and, within one, of score.
    std::vector<std::vector<std::uint32_t>> orders(category_count);
    for (std::size_t d = 0; d < detections_.size(); ++d) {
      orders[static_cast<std::size_t>(detections_[d].category)].push_back(static_cast<std::uint32_t>(d));
    }
    const std::int64_t k = static_cast<std::int64_t>(category_count);
    const std::int64_t m = static_cast<std::int64_t>(options_.max_dets.size());
    if (options_.curves) {
      result_.precision = Tensor::full({kThresholds, kRecallPoints, k, kAreas, m}, -1, DType::kF64);
      result_.scores = Tensor::full({kThresholds, kRecallPoints, k, kAreas, m}, -1, DType::kF64);
      result_.recall = Tensor::full({kThresholds, k, kAreas, m}, -1, DType::kF64);
      precision_data_ = result_.precision.mutable_data<double>();
      score_data_ = result_.scores.mutable_data<double>();
      recall_data_ = result_.recall.mutable_data<double>();
    }
    const auto accumulate_one = [&](std::int64_t c) {
      const auto index = static_cast<std::size_t>(c);
      auto& order = orders[index];
      std::stable_sort(order.begin(), order.end(),
                       [&](std::uint32_t a, std::uint32_t b) { return scores_[a] > scores_[b]; });
      accumulate_category(index, order, truth_counts[index]);
    };
    if (detections_.size() > 4096) {
      parallel_for_each(0, k, accumulate_one);
    } else {
      for (std::int64_t c = 0; c < k; ++c) accumulate_one(c);
    }
    mean_over_categories();
  }

  void accumulate_category(std::size_t index, std::span<const std::uint32_t> order,
                           const std::array<std::int64_t, kAreas>& truth_counts) {
    auto& category = result_.categories[index];
    category.truths = truth_counts[0];
    category.detections = static_cast<std::int64_t>(order.size());
    const std::size_t m_count = options_.max_dets.size();
    const std::size_t cells = static_cast<std::size_t>(kAreas) * m_count;
    // Means over thresholds (and recall points) of each area and number of detections; -1 without truths.
    std::vector<double> ap(cells, -1), ap50(cells, -1), ap75(cells, -1), ar(cells, -1), precisions, scores;
    for (int a = 0; a < kAreas; ++a) {
      if (truth_counts[static_cast<std::size_t>(a)] == 0) continue;
      for (std::size_t m = 0; m < m_count; ++m) {
        // The summary needs small numbers of detections for the recall of all areas only.
        if (!options_.curves && a > 0 && m + 1 < m_count) continue;
        const std::size_t cell = static_cast<std::size_t>(a) * m_count + m;
        double precision_sum = 0, recall_sum = 0;
        for (int t = 0; t < kThresholds; ++t) {
          const Curve c =
              curve(order, truth_counts[static_cast<std::size_t>(a)], a, t, options_.max_dets[m], precisions, scores);
          double sum = 0;
          for (const double p : c.precision) sum += p;
          precision_sum += sum;
          recall_sum += c.recall;
          if (t == 0) ap50[cell] = sum / kRecallPoints;
          if (t == 5) ap75[cell] = sum / kRecallPoints;
          if (options_.curves) keep_curve(c, static_cast<std::size_t>(t), index, cell, cells);
        }
        ap[cell] = precision_sum / (kThresholds * kRecallPoints);
        ar[cell] = recall_sum / kThresholds;
      }
    }
    const std::size_t last = m_count - 1;
    Metrics& metrics = category.metrics;
    metrics = {{"AP", ap[last]}, {"AP50", ap50[last]}, {"AP75", ap75[last]}};
    for (std::size_t a = 1; a < kAreas; ++a) {
      metrics.emplace_back(fmt::format("AP{}", kAreaSuffix[a]), ap[a * m_count + last]);
    }
    for (std::size_t m = 0; m < m_count; ++m) metrics.emplace_back(fmt::format("AR{}", options_.max_dets[m]), ar[m]);
    for (std::size_t a = 1; a < kAreas; ++a) {
      metrics.emplace_back(fmt::format("AR{}", kAreaSuffix[a]), ar[a * m_count + last]);
    }
  }

  // `cell` of `cells`: area and number of detections, the last two dimensions of the arrays.
  void keep_curve(const Curve& c, std::size_t t, std::size_t category, std::size_t cell, std::size_t cells) {
    const std::size_t categories = result_.categories.size();
    for (std::size_t r = 0; r < kRecallPoints; ++r) {
      const std::size_t at = ((t * kRecallPoints + r) * categories + category) * cells + cell;
      precision_data_[at] = c.precision[r];
      score_data_[at] = c.scores[r];
    }
    recall_data_[(t * categories + category) * cells + cell] = c.recall;
  }

  void mean_over_categories() {
    result_.metrics = result_.categories.empty() ? Metrics{} : result_.categories.front().metrics;
    for (std::size_t i = 0; i < result_.metrics.size(); ++i) {
      double sum = 0;
      std::int64_t count = 0;
      for (const auto& category : result_.categories) {
        if (category.metrics[i].second <= -1) continue;
        sum += category.metrics[i].second;
        ++count;
      }
      result_.metrics[i].second = count > 0 ? sum / static_cast<double>(count) : -1;
    }
  }

  const io::AnnotationSet& truth_;
  const io::AnnotationSet& predictions_;
  IouType type_;
  const CocoEvalOptions& options_;
  std::array<double, kThresholds> thresholds_;
  std::array<double, kRecallPoints> recall_points_;
  std::vector<std::int32_t> images_;  // positions in truth_.images, by ascending id
  io::IdIndex image_ranks_, category_ranks_;
  std::vector<Item> truths_, detections_;  // by image, category and (detections) score
  std::vector<std::uint32_t> ranks_;       // of each detection in its image and category, 0 the best
  std::vector<double> scores_;             // of each detection
  std::vector<Group> groups_;
  std::vector<Outcome> outcomes_;  // of each detection
  double *precision_data_ = nullptr, *score_data_ = nullptr, *recall_data_ = nullptr;
  CocoEvalResult result_;
};

}  // namespace

std::array<double, 10> coco_iou_thresholds() {
  std::array<double, 10> thresholds{};
  const double step = (0.95 - 0.5) / 9;
  for (int i = 0; i < 10; ++i) thresholds[static_cast<std::size_t>(i)] = i * step + 0.5;
  thresholds.back() = 0.95;
  return thresholds;
}

std::array<double, 101> coco_recall_points() {
  std::array<double, 101> points{};
  for (int i = 0; i < 101; ++i) points[static_cast<std::size_t>(i)] = i * 0.01;
  points.back() = 1;
  return points;
}

CocoEvalResult evaluate_coco(const io::AnnotationSet& truth, const io::AnnotationSet& predictions, IouType type,
                             const CocoEvalOptions& options) {
  return Evaluation(truth, predictions, type, options).run();
}

void check_truth(const io::AnnotationSet& truth, IouType type, const CocoEvalOptions& options) {
  io::AnnotationSet nothing;
  nothing.name = "no predictions";
  nothing.is_results = true;
  evaluate_coco(truth, nothing, type, options);
  if (type != IouType::kMask) return;
  const io::IdIndex images = io::index_images(truth);
  for (const io::CocoAnnotation& annotation : truth.annotations) {
    const io::CocoImage& image = truth.images[static_cast<std::size_t>(images.find(annotation.image_id))];
    require_mask(truth, annotation);
    truth.mask_area(annotation, image.height, image.width);
  }
}

}  // namespace usol::eval
