// Image names of two files, compared whole first and by their last part where that decides; \ is as good as /.
#include "usol/eval/match_images.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/io/picture_path.h"
#include "usol/tensor/check.h"

namespace usol::eval {

namespace {

std::string last_part(std::string_view path) { return std::string(path.substr(path.find_last_of("/\\") + 1)); }

// Names of a set's images, sorted for look-up.
class NameIndex {
 public:
  NameIndex(const io::AnnotationSet& set, std::string (*part)(std::string_view)) : part_(part) {
    for (std::size_t i = 0; i < set.images.size(); ++i) names_.emplace_back(part(set.images[i].file_name), i);
    std::sort(names_.begin(), names_.end());
  }
  /// Position of the one image of this name; nothing if there is none or several.
  std::optional<std::size_t> find(std::string_view path) const {
    const std::string name = part_(path);
    const auto found = std::lower_bound(names_.begin(), names_.end(), std::pair{name, std::size_t{0}});
    if (found == names_.end() || found->first != name) return std::nullopt;
    if (std::next(found) != names_.end() && std::next(found)->first == name) return std::nullopt;
    return found->second;
  }
  /// Positions of two images of one name.
  std::optional<std::pair<std::size_t, std::size_t>> duplicate() const {
    const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
    const auto found = std::adjacent_find(names_.begin(), names_.end(), same);
    if (found == names_.end()) return std::nullopt;
    return std::pair{found[0].second, found[1].second};
  }

 private:
  std::string (*part_)(std::string_view);
  std::vector<std::pair<std::string, std::size_t>> names_;
};

// A truth's images by id, and whether another file's image of that id may be the same picture.
class Ids {
 public:
  explicit Ids(const io::AnnotationSet& truth)
      : truth_(truth), ids_(io::index_images(truth)), names_(truth, io::portable_name) {}
  const io::CocoImage* image_of(const io::CocoImage& other) const {
    const std::int64_t found = ids_.find(other.id);
    return found < 0 ? nullptr : &truth_.images[static_cast<std::size_t>(found)];
  }
  // Folders may differ, as of a file that was made in another one, unless the name with its folders is another image's.
  bool may_be_one(const io::CocoImage& image, const io::CocoImage& other) const {
    if (io::portable_name(image.file_name) == io::portable_name(other.file_name)) return true;
    return last_part(image.file_name) == last_part(other.file_name) && !names_.find(other.file_name);
  }

 private:
  const io::AnnotationSet& truth_;
  io::IdIndex ids_;
  NameIndex names_;
};

void check_unique(const io::AnnotationSet& set, const NameIndex& index) {
  if (const auto twice = index.duplicate()) {
    fail(ErrorKind::kUsage, fmt::format("{}: images[{}] and images[{}] have one file_name, '{}'; match them by id",
                                        set.name, twice->first, twice->second, set.images[twice->first].file_name));
  }
}

}  // namespace

void match_by_file_name(const io::AnnotationSet& truth, io::AnnotationSet& predictions) {
  check(!predictions.is_results, ErrorKind::kUsage,
        "{}: a list of results names no files; matching by file name needs a COCO data set with images",
        predictions.name);
  const NameIndex truth_names(truth, io::portable_name), truth_parts(truth, last_part);
  const NameIndex names(predictions, io::portable_name), parts(predictions, last_part);
  check_unique(truth, truth_names);
  check_unique(predictions, names);
  // Image of the truth for each image of the predictions.
  std::vector<std::optional<std::size_t>> partners;
  for (const io::CocoImage& image : predictions.images) {
    auto partner = truth_names.find(image.file_name);
    if (!partner && parts.find(image.file_name)) partner = truth_parts.find(image.file_name);
    partners.push_back(partner);
  }
  const io::IdIndex ids = io::index_images(predictions);
  for (io::CocoAnnotation& annotation : predictions.annotations) {
    const auto image = static_cast<std::size_t>(ids.find(annotation.image_id));
    check(partners[image].has_value(), ErrorKind::kFormat, "{}: its image '{}' is not in {}",
          predictions.place(annotation), predictions.images[image].file_name, truth.name);
    annotation.image_id = truth.images[*partners[image]].id;
  }
  for (std::size_t i = 0; i < partners.size(); ++i) {
    if (partners[i]) predictions.images[i].id = truth.images[*partners[i]].id;
  }
}

void check_ids_mean_the_same(const io::AnnotationSet& truth, const io::AnnotationSet& predictions) {
  const Ids ids(truth);
  for (const io::CocoImage& image : predictions.images) {
    const io::CocoImage* other = ids.image_of(image);
    if (other == nullptr || other->file_name.empty() || image.file_name.empty()) continue;
    check(ids.may_be_one(*other, image), ErrorKind::kUsage,
          "image {} is '{}' in {}, but '{}' in {}: match file_name compares by name, match id trusts the ids", image.id,
          other->file_name, truth.name, image.file_name, predictions.name);
  }
}

void match_images(const io::AnnotationSet& truth, io::AnnotationSet& predictions, const Matching& matching) {
  check(matching.by == "id" || matching.by == "file_name", ErrorKind::kUsage,
        "match: expected id or file_name, got '{}'", matching.by);
  if (matching.by == "file_name")
    match_by_file_name(truth, predictions);
  else if (!matching.ids_are_certain)
    check_ids_mean_the_same(truth, predictions);
}

void match_images(const io::AnnotationSet& truth, io::AnnotationSet& predictions) {
  const Ids ids(truth);
  const auto same = [&](const io::CocoImage& image) {
    const io::CocoImage* other = ids.image_of(image);
    return other != nullptr && ids.may_be_one(*other, image);
  };
  if (!std::all_of(predictions.images.begin(), predictions.images.end(), same)) match_by_file_name(truth, predictions);
}

}  // namespace usol::eval
