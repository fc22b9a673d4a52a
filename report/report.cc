#include "usol/report/report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <utility>

#include "usol/eval/coco_eval.h"
#include "usol/eval/match_images.h"
#include "usol/io/atomic_file.h"
#include "usol/io/colour.h"
#include "usol/io/draw.h"
#include "usol/io/has_masks.h"
#include "usol/io/image.h"
#include "usol/io/npy.h"
#include "usol/io/picture_path.h"
#include "usol/io/whole_pixels.h"
#include "usol/report/html.h"
#include "usol/report/page.h"
#include "usol/report/sections.h"
#include "usol/report/small_picture.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol::report {
namespace {

constexpr std::size_t kMostBytesEach = 120'000;  // of a picture in a page with few of them
constexpr std::int64_t kColours = 24;
// Of each group's row.
constexpr std::size_t kTypicalCrops = 12, kMarginalCrops = 6, kMostBytesOfACrop = 4'000;
constexpr std::int64_t kCropPx = 128;
constexpr std::size_t kMostGroups = 300;  // rows: more are more than a person names, and more than a page holds

// Annotations of one set, by the position of their picture; the best first.
using ByPicture = std::vector<std::vector<const io::CocoAnnotation*>>;

class Report {
 public:
  Report(ReportSources sources, const ReportOptions& options) : sources_(std::move(sources)), options_(options) {}

  ReportResult write(const fs::path& page, const std::function<void(std::int64_t, std::int64_t)>& progress) {
    list_pictures();
    evaluate();
    gather_figures();
    choose_pictures();
    const std::string start = page_start(), end = page_end();
    io::AtomicFile file(page);
    file.write(start);
    write_pictures(file, start.size() + end.size(), progress);
    file.write(end);
    file.commit();
    result_.bytes = file.size();
    return std::move(result_);
  }

 private:
  // ---- which pictures there are ----

  // The pictures of the truth, or else of all runs together, by file name; the runs' ids become theirs.
  void list_pictures() {
    for (ReportRun& run : sources_.runs) fill_scores(run.set);
    if (!options_.annotations.empty()) {
      truth_ = io::read_coco(options_.annotations, {.image_root = options_.image_root});
      if (options_.truth_read) options_.truth_read(truth_.report);
      check(!truth_.is_results, ErrorKind::kUsage, "{}: a list of results is no truth: expected a COCO data set",
            truth_.name);
      for (ReportRun& run : sources_.runs) eval::match_images(truth_, run.set);
      pictures_ = truth_.images;
    } else {
      std::map<std::string, std::size_t> known;
      for (ReportRun& run : sources_.runs) {
        check(!run.set.is_results, ErrorKind::kUsage,
              "{}: a list of results names no pictures: give the data set they belong to as annotations", run.set.name);
        const io::IdIndex ids = io::index_images(run.set);
        std::vector<std::int64_t> new_ids;
        for (io::CocoImage& image : run.set.images) {
          const auto [found, is_new] = known.try_emplace(io::portable_name(image.file_name), pictures_.size());
          if (is_new) {
            pictures_.push_back(image);
            pictures_.back().id = static_cast<std::int64_t>(pictures_.size());
          }
          new_ids.push_back(static_cast<std::int64_t>(found->second) + 1);
        }
        for (io::CocoAnnotation& annotation : run.set.annotations) {
          annotation.image_id = new_ids[static_cast<std::size_t>(ids.find(annotation.image_id))];
        }
        for (std::size_t i = 0; i < new_ids.size(); ++i) run.set.images[i].id = new_ids[i];
      }
    }
    std::vector<std::int64_t> ids;
    for (const io::CocoImage& picture : pictures_) ids.push_back(picture.id);
    ids_ = io::IdIndex(ids);
    truth_of_ = by_picture(truth_);
    seen_.assign(sources_.runs.size(), std::vector<bool>(pictures_.size(), false));
    for (std::size_t r = 0; r < sources_.runs.size(); ++r) {
      const io::AnnotationSet& set = sources_.runs[r].set;
      for (const io::CocoImage& image : set.images) {
        if (const std::int64_t at = ids_.find(image.id); at >= 0) seen_[r][static_cast<std::size_t>(at)] = true;
      }
      if (set.is_results) seen_[r].assign(pictures_.size(), true);  // it does not say what it looked at
      objects_.push_back(by_picture(set));
    }
  }

  static void fill_scores(io::AnnotationSet& set) {
    for (io::CocoAnnotation& annotation : set.annotations) {
      if (!annotation.has_score) annotation.score = 1;
      annotation.has_score = true;
    }
  }

  ByPicture by_picture(const io::AnnotationSet& set) const {
    ByPicture lists(pictures_.size());
    for (const io::CocoAnnotation& annotation : set.annotations) {
      const std::int64_t at = ids_.find(annotation.image_id);
      check(at >= 0, ErrorKind::kUsage, "{}.image_id: {} is no image of {}", set.place(annotation), annotation.image_id,
            truth_.name);
      lists[static_cast<std::size_t>(at)].push_back(&annotation);
    }
    for (auto& list : lists) {
      std::stable_sort(list.begin(), list.end(),
                       [](const io::CocoAnnotation* a, const io::CocoAnnotation* b) { return a->score > b->score; });
    }
    return lists;
  }

  bool has_truth() const { return !options_.annotations.empty(); }

  // ---- figures ----

  void evaluate() {
    scores_.resize(sources_.runs.size());
    if (!has_truth()) return;
    eval::CocoEvalOptions options;
    options.class_agnostic = !options_.class_aware;
    options.curves = true;
    for (std::size_t r = 0; r < sources_.runs.size(); ++r) {
      const io::AnnotationSet& set = sources_.runs[r].set;
      scores_[r].box = eval::evaluate_coco(truth_, set, eval::IouType::kBox, options);
      if (io::has_masks(truth_) && io::has_masks(set))
        scores_[r].mask = eval::evaluate_coco(truth_, set, eval::IouType::kMask, options);
    }
  }

  void gather_figures() {
    for (std::size_t r = 0; r < sources_.runs.size(); ++r) {
      RunFigures figures;
      for (std::size_t i = 0; i < pictures_.size(); ++i) {
        if (!seen_[r][i]) continue;
        const auto& list = objects_[r][i];
        ++figures.pictures;
        figures.without += list.empty();
        figures.objects_each.push_back(static_cast<double>(list.size()));
        const double pixels = static_cast<double>(pictures_[i].height) * static_cast<double>(pictures_[i].width);
        for (const io::CocoAnnotation* object : list) {
          figures.scores.push_back(object->score);
          const bool is_rle = object->segmentation.kind == io::Segmentation::Kind::kRle;
          const double area = is_rle             ? static_cast<double>(object->segmentation.area)
                              : object->has_area ? object->area
                                                 : object->box[2] * object->box[3];
          if (pixels > 0) figures.area_shares.push_back(area / pixels);
        }
      }
      figures.objects = static_cast<std::int64_t>(figures.scores.size());
      figures_.push_back(std::move(figures));
    }
  }

  // ---- the gallery ----

  void choose_pictures() {
    if (!options_.picture || sources_.runs.empty()) return;
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < pictures_.size(); ++i) {
      if (std::any_of(seen_.begin(), seen_.end(), [&](const auto& seen) { return seen[i]; })) all.push_back(i);
    }
    const std::size_t wanted = options_.most_pictures > 0
                                   ? std::min(all.size(), static_cast<std::size_t>(options_.most_pictures))
                                   : all.size();
    for (std::size_t k = 0; k < wanted; ++k) chosen_.push_back(all[k * all.size() / wanted]);
    result_.pictures = static_cast<std::int64_t>(chosen_.size());
    result_.left_out = static_cast<std::int64_t>(all.size() - wanted);
  }

  io::Rle mask_of(const io::AnnotationSet& set, const io::CocoAnnotation& object, std::size_t picture) const {
    const io::CocoImage& image = pictures_[picture];
    if (object.segmentation.kind == io::Segmentation::Kind::kNone || image.height <= 0 || image.width <= 0) return {};
    return set.rle(object, image.height, image.width);
  }

  // Objects of the truth that some object of the run covers with IoU >= 0.5 (of masks, or else of boxes).
  std::int64_t found(std::size_t run, std::size_t picture) const {
    const auto& truths = truth_of_[picture];
    const auto& objects = objects_[run][picture];
    if (truths.empty() || objects.empty()) return 0;
    std::vector<io::Rle> truth_masks, masks;
    std::vector<io::Box> truth_boxes, boxes;
    const bool by_mask = scores_[run].mask.has_value();
    for (const io::CocoAnnotation* t : truths) {
      if (by_mask) truth_masks.push_back(mask_of(truth_, *t, picture));
      truth_boxes.push_back(t->box);
    }
    for (const io::CocoAnnotation* o : objects) {
      if (by_mask) masks.push_back(mask_of(sources_.runs[run].set, *o, picture));
      boxes.push_back(o->box);
    }
    const std::vector<double> ious = by_mask ? io::rle_iou(masks, truth_masks) : io::box_iou(boxes, truth_boxes);
    std::int64_t count = 0;
    for (std::size_t t = 0; t < truths.size(); ++t) {
      bool covered = false;
      for (std::size_t o = 0; o < objects.size(); ++o) covered = covered || ious[o * truths.size() + t] >= 0.5;
      count += covered;
    }
    return count;
  }

  std::string gallery_index() const {
    Json index;
    index["runs"] = Json::array();
    for (const ReportRun& run : sources_.runs) index["runs"].push_back(run.name);
    index["truth"] = has_truth() ? 1 : 0;
    for (std::int64_t k = 0; k < kColours; ++k) {
      const io::Colour colour = io::distinct_colour(k);
      index["colours"].push_back(fmt::format("#{:02x}{:02x}{:02x}", colour.r, colour.g, colour.b));
    }
    Json& list = index["pictures"] = Json::array();
    for (const std::size_t i : chosen_) {
      const io::CocoImage& picture = pictures_[i];
      const OutlineGrid grid =
          outline_grid(std::max<std::int64_t>(1, picture.height), std::max<std::int64_t>(1, picture.width));
      Json scores = Json::array(), covered = Json::array();
      for (std::size_t r = 0; r < sources_.runs.size(); ++r) {
        Json of_run = Json::array();
        for (const io::CocoAnnotation* object : objects_[r][i])
          of_run.push_back(std::round(object->score * 1000) / 1000);
        scores.push_back(std::move(of_run));
        covered.push_back(has_truth() ? Json(found(r, i)) : Json());
      }
      list.push_back({picture.file_name, grid.height, grid.width,
                      has_truth() ? static_cast<std::int64_t>(truth_of_[i].size()) : -1, scores, covered});
    }
    return json_in_script(index);
  }

  // Eigenvectors that a --dump of maskcut left for the picture, the object's side light.
  std::vector<Tensor> eigenvectors(const fs::path& stages, const std::string& file_name) const {
    std::vector<Tensor> maps;
    const fs::path folder = stages / fs::path(io::portable_name(file_name)).replace_extension("");
    for (int t = 1; fs::exists(folder / fmt::format("x_{}.npy", t)); ++t) {
      Tensor x = io::load_npy(folder / fmt::format("x_{}.npy", t)).to(DType::kF64).contiguous().clone();
      check(x.rank() == 2 && x.numel() > 0, ErrorKind::kFormat, "{}/x_{}.npy: expected an eigenvector [h, w], got {}",
            folder.string(), t, x.shape());
      const fs::path side = folder / fmt::format("P_{}.npy", t);
      if (fs::exists(side)) {
        const Tensor p = io::load_npy(side).to(DType::kF64).contiguous();
        check(p.shape() == x.shape(), ErrorKind::kFormat, "{}: expected {}, got {}", side.string(), x.shape(),
              p.shape());
        const std::vector<double> values = x.to_vector<double>(), inside = p.to_vector<double>();
        double sum = 0, sum_inside = 0, count_inside = 0;
        for (std::size_t k = 0; k < values.size(); ++k) {
          sum += values[k];
          sum_inside += values[k] * inside[k];
          count_inside += inside[k];
        }
        if (sum_inside * static_cast<double>(values.size()) < sum * count_inside) {
          double* v = x.mutable_data<double>();
          for (std::int64_t k = 0; k < x.numel(); ++k) v[k] = -v[k];
        }
      }
      maps.push_back(io::draw_heat_map(x, x.size(0), x.size(1)));
    }
    return maps;
  }

  // Decodes the picture as the run saw it: turned by EXIF unless that contradicts the size in the annotations.
  Tensor decode(const io::CocoImage& picture) const {
    const fs::path path = options_.picture(picture.file_name);
    for (const bool exif : {true, false}) {
      io::DecodeOptions how = options_.decode;
      how.apply_exif = exif;
      Tensor image = io::decode_image(path, how);
      const bool fits = image.size(0) == picture.height && image.size(1) == picture.width;
      // The release exchanges the two, and without a mask nothing proves it.
      const bool exchanged = image.size(1) == picture.height && image.size(0) == picture.width;
      if (picture.height <= 0 || fits || (!exif && exchanged)) return image;
      check(exif, ErrorKind::kFormat, "{}: is {} x {}, but {} x {} in the annotations", path.string(), image.size(1),
            image.size(0), picture.width, picture.height);
    }
    return {};
  }

  std::vector<OutlinedObject> outlined(const io::AnnotationSet& set, const std::vector<const io::CocoAnnotation*>& list,
                                       std::size_t picture) const {
    std::vector<OutlinedObject> objects;
    for (const io::CocoAnnotation* object : list) objects.push_back({mask_of(set, *object, picture), object->box, {}});
    return objects;
  }

  // The script element of one picture, at most `limit` bytes where that is possible; `failure` is set if it cannot be
  // read.
  std::string picture_element(std::size_t k, std::size_t limit, std::string& failure) const {
    const std::size_t i = chosen_[k];
    const io::CocoImage& picture = pictures_[i];
    Json parts;
    const std::int64_t height = std::max<std::int64_t>(1, picture.height),
                       width = std::max<std::int64_t>(1, picture.width);
    // Outlines get up to a third, eigenvectors up to a fifth, the picture what is left.
    const std::size_t sets = sources_.runs.size() + (has_truth() ? 1 : 0);
    std::int64_t left = 0;
    const auto add = [&](Json& to, const io::AnnotationSet& set, const std::vector<const io::CocoAnnotation*>& list) {
      std::vector<OutlinedObject> objects = outlined(set, list, i);
      left += outline_within(objects, height, width, limit / 3 / sets);
      to = Json::array();
      for (const OutlinedObject& object : objects) to.push_back(object.path);
    };
    if (has_truth()) add(parts["truth"], truth_, truth_of_[i]);
    parts["runs"] = Json::array();
    for (std::size_t r = 0; r < sources_.runs.size(); ++r) {
      Json paths;
      add(paths, sources_.runs[r].set, objects_[r][i]);
      parts["runs"].push_back(std::move(paths));
    }
    parts["left"] = left;
    parts["stages"] = Json::array();
    try {
      for (const ReportRun& run : sources_.runs) {
        if (run.stages.empty() || !parts["stages"].empty()) continue;
        const std::vector<Tensor> maps = eigenvectors(run.stages, picture.file_name);
        for (const Tensor& map : maps)
          parts["stages"].push_back(jpeg_data_uri(jpeg_within(map, limit * 3 / 20 / maps.size(), 96)));
      }
      const std::size_t taken = json_in_script(parts).size() + 200;
      const std::size_t for_jpeg = taken < limit ? (limit - taken) / 4 * 3 : 0;
      const Tensor image = decode(picture);
      if (image.size(0) != picture.height) {
        const OutlineGrid grid = outline_grid(image.size(0), image.size(1));
        parts["size"] = {grid.height, grid.width};
      }
      parts["jpeg"] = jpeg_data_uri(jpeg_within(image, for_jpeg, 960));
    } catch (const Error& error) {
      failure = error.what();
      parts["failed"] = "cannot be shown: " + failure;
    }
    return fmt::format("<script type=\"application/json\" id=\"p{}\">{}</script>\n", k, json_in_script(parts));
  }

  void write_pictures(io::AtomicFile& file, std::size_t page_bytes,
                      const std::function<void(std::int64_t, std::int64_t)>& progress) {
    if (chosen_.empty()) return;
    const double room = options_.page_mb * 1e6 - static_cast<double>(page_bytes);
    const std::size_t limit =
        std::min(kMostBytesEach, static_cast<std::size_t>(std::max(0.0, room) / static_cast<double>(chosen_.size())));
    // In groups, so that threads work side by side and memory stays flat.
    constexpr std::size_t kGroup = 64;
    for (std::size_t first = 0; first < chosen_.size(); first += kGroup) {
      const std::size_t last = std::min(chosen_.size(), first + kGroup);
      std::vector<std::string> elements(last - first), failures(last - first);
      parallel_for_each(static_cast<std::int64_t>(first), static_cast<std::int64_t>(last), [&](std::int64_t k) {
        const std::size_t at = static_cast<std::size_t>(k) - first;
        elements[at] = picture_element(static_cast<std::size_t>(k), limit, failures[at]);
      });
      for (std::size_t at = 0; at < elements.size(); ++at) {
        file.write(elements[at]);
        if (!failures[at].empty()) result_.failures.push_back(failures[at]);
      }
      if (progress) progress(static_cast<std::int64_t>(last), static_cast<std::int64_t>(chosen_.size()));
    }
  }

  // ---- the page ----

  std::string summary() const {
    std::vector<std::string> parts;
    const auto count = [&](std::size_t n, const char* one, const char* many) {
      if (n > 0) parts.push_back(fmt::format("{} {}", n, n == 1 ? one : many));
    };
    count(sources_.runs.size(), "run", "runs");
    std::size_t pictures = 0;
    for (std::size_t i = 0; i < pictures_.size(); ++i)
      pictures += std::any_of(seen_.begin(), seen_.end(), [&](const auto& seen) { return seen[i]; });
    count(pictures, "picture", "pictures");
    std::int64_t objects = 0;
    for (const RunFigures& figures : figures_) objects += figures.objects;
    count(static_cast<std::size_t>(objects), "object", "objects");
    count(sources_.trainings.size(), "training", "trainings");
    count(sources_.sweeps.size(), "sweep", "sweeps");
    std::string text = fmt::format("{}.", fmt::join(parts, ", "));
    if (result_.left_out > 0)
      text += fmt::format(" The gallery shows {} of the pictures, evenly spread.", result_.pictures);
    if (has_truth()) {
      text += fmt::format(" The truth has {} objects in {} pictures.", truth_.annotations.size(), truth_.images.size());
      for (std::size_t r = 0; r < sources_.runs.size(); ++r) {
        if (figures_[r].pictures < static_cast<std::int64_t>(truth_.images.size()))
          text += fmt::format(" {} looked at {} of them; objects in the others count as missed.", sources_.runs[r].name,
                              figures_[r].pictures);
      }
    }
    return escape_html(text);
  }

  // ---- groups ----

  // The picture of an object, with some of what is around it.
  std::string crop_of(const Tensor& image, const io::CocoImage& picture, const io::Box& box, std::size_t bytes) const {
    const double scale_y = static_cast<double>(image.size(0)) / static_cast<double>(picture.height),
                 scale_x = static_cast<double>(image.size(1)) / static_cast<double>(picture.width);
    const auto span = [](double from, double length, std::int64_t size) {
      const double room = std::max(length * 0.1, 2.0);
      return io::whole_pixels(from - room, length + 2 * room, size);
    };
    const io::PixelSpan x = span(box[0] * scale_x, box[2] * scale_x, image.size(1)),
                        y = span(box[1] * scale_y, box[3] * scale_y, image.size(0));
    return jpeg_data_uri(
        jpeg_within(image.slice(0, y.first, y.end).slice(1, x.first, x.end).contiguous(), bytes, kCropPx));
  }

  // Of the first run that has groups.
  std::string groups_section() {
    const auto run = std::find_if(sources_.runs.begin(), sources_.runs.end(),
                                  [](const ReportRun& source) { return !source.groups.empty(); });
    if (run == sources_.runs.end() || !options_.picture) return {};
    const ShownGroups groups = first_groups(group_rows(run->groups, kTypicalCrops, kMarginalCrops), kMostGroups);
    std::map<std::size_t, std::vector<std::size_t>> shown;  // annotations by picture
    std::size_t count = 0;
    for (const GroupRow& row : groups.rows)
      for (const auto* list : {&row.typical, &row.marginal})
        for (const std::size_t annotation : *list) {
          shown[static_cast<std::size_t>(ids_.find(run->set.annotations[annotation].image_id))].push_back(annotation);
          ++count;
        }
    // Crops get up to a quarter of the page.
    const std::size_t bytes = std::min(
        kMostBytesOfACrop, static_cast<std::size_t>(options_.page_mb * 1e6 / 4 * 3 / 4 / static_cast<double>(count)));
    std::vector<std::pair<std::size_t, std::vector<std::size_t>>> pictures(shown.begin(), shown.end());
    std::vector<std::vector<std::string>> crops(pictures.size());  // as `pictures` has the annotations
    std::vector<std::string> failures(pictures.size());            // the gallery says those of its own pictures
    parallel_for_each(0, static_cast<std::int64_t>(pictures.size()), [&](std::int64_t p) {
      const auto& [picture, annotations] = pictures[static_cast<std::size_t>(p)];
      try {
        const Tensor image = decode(pictures_[picture]);
        for (const std::size_t annotation : annotations)
          crops[static_cast<std::size_t>(p)].push_back(
              crop_of(image, pictures_[picture], run->set.annotations[annotation].box, bytes));
      } catch (const Error& error) {
        failures[static_cast<std::size_t>(p)] = error.what();
      }
    });
    std::map<std::size_t, std::string> crop_of_annotation, title_of_annotation;
    for (std::size_t p = 0; p < pictures.size(); ++p) {
      for (std::size_t i = 0; i < crops[p].size(); ++i)
        crop_of_annotation[pictures[p].second[i]] = std::move(crops[p][i]);
      if (!failures[p].empty() && !std::binary_search(chosen_.begin(), chosen_.end(), pictures[p].first))
        result_.failures.push_back(failures[p]);
    }
    for (const GroupedObject& object : run->groups) {
      if (!crop_of_annotation.contains(object.annotation)) continue;
      const auto picture = static_cast<std::size_t>(ids_.find(run->set.annotations[object.annotation].image_id));
      title_of_annotation[object.annotation] = fmt::format(
          "{}: similarity {:.2f}, margin {:.2f}", pictures_[picture].file_name, object.similarity, object.margin);
    }
    return group_rows_html(
        groups, fs::path(run->set.name).filename().string(),
        [&](std::size_t annotation) { return crop_of_annotation[annotation]; },
        [&](std::size_t annotation) { return title_of_annotation[annotation]; });
  }

  std::string gallery() const {
    if (chosen_.empty()) return {};
    std::string run_choice, panels;
    const auto box = [&](const std::string& id, const std::string& label, bool checked) {
      panels += fmt::format("<label><input type=\"checkbox\" id=\"show-{}\"{}> {}</label> ", id,
                            checked ? " checked" : "", escape_html(label));
    };
    box("masks", "masks", true);
    if (has_truth()) box("truth", "truth", true);
    if (sources_.runs.size() > 1) {
      run_choice = "<label>of <select id=\"run\">";
      for (std::size_t r = 0; r < sources_.runs.size(); ++r) {
        run_choice += fmt::format("<option value=\"{}\">{}</option>", r, escape_html(sources_.runs[r].name));
        box(fmt::format("run{}", r), sources_.runs[r].name, true);
      }
      run_choice += "</select></label>";
    }
    if (std::any_of(sources_.runs.begin(), sources_.runs.end(),
                    [](const ReportRun& run) { return !run.stages.empty(); }))
      box("stages", "eigenvectors", true);
    return report_gallery(run_choice, panels);
  }

  std::string page_start() {
    std::string next;
    for (const ReportStep& step : options_.next_steps) {
      next += fmt::format("<p>{}</p>\n<pre>{}</pre>\n", escape_html(step.what), escape_html(step.command));
    }
    const auto& runs = sources_.runs;
    const std::vector<std::pair<std::string, std::string>> parts = {
        {"compare", "Figures"},      {"sweep", "Sweep"},
        {"groups", "Groups"},        {"pictures", "Pictures"},
        {"spread", "Distributions"}, {"curves", "Precision and recall"},
        {"training", "Training"},    {"time", "Time"},
        {"how", "How it was made"},  {"next", "Where to go next"},
    };
    std::map<std::string, std::string> content = {
        {"compare", compare_table(runs, figures_, scores_, sources_.metrics)},
        {"sweep", sweep_tables(sources_.sweeps)},
        {"groups", groups_section()},
        {"spread", distribution_charts(runs, figures_)},
        {"curves", precision_recall_charts(runs, scores_)},
        {"training", training_charts(sources_.trainings)},
        {"time", time_tables(sources_.times, sources_.trainings)},
        {"how", provenance_tables(runs)},
        {"next", next},
    };
    std::string sections, nav;
    for (const auto& [id, heading] : parts) {
      const std::string text = id == "pictures" ? gallery() : section(id, heading, content[id]);
      if (text.empty()) continue;
      sections += text;
      nav += fmt::format("<a href=\"#{}\">{}</a> ", id, escape_html(heading));
    }
    return report_page_start(escape_html(options_.title), summary(), nav, sections);
  }

  std::string page_end() const {
    return report_page_end(gallery_index(), fmt::format("<small>{}</small>", escape_html(options_.made_by)));
  }

  ReportSources sources_;
  const ReportOptions& options_;
  io::AnnotationSet truth_;
  std::vector<io::CocoImage> pictures_;
  io::IdIndex ids_;
  ByPicture truth_of_;
  std::vector<ByPicture> objects_;       // by run
  std::vector<std::vector<bool>> seen_;  // by run and picture: it was among the run's images
  std::vector<RunScore> scores_;         // by run
  std::vector<RunFigures> figures_;      // by run
  std::vector<std::size_t> chosen_;      // positions of the gallery's pictures
  ReportResult result_;
};

}  // namespace

ReportResult write_report(const fs::path& page, ReportSources sources, const ReportOptions& options,
                          const std::function<void(std::int64_t, std::int64_t)>& progress) {
  return Report(std::move(sources), options).write(page, progress);
}

}  // namespace usol::report
