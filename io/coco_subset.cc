#include "usol/io/coco_subset.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "usol/io/text_lines.h"
#include "usol/tensor/check.h"

namespace usol::io {
namespace {

std::string_view last_part(std::string_view path) { return path.substr(path.find_last_of("/\\") + 1); }
std::string_view without_extension(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos || dot == 0 ? name : name.substr(0, dot);
}

class ImageList {
 public:
  explicit ImageList(const std::filesystem::path& path) : path_(path.string()) {
    TextLines lines(path);
    for (std::string line; lines.next(line);) {
      while (!line.empty() && (line.back() == ' ' || line.back() == '\t')) line.pop_back();
      if (!line.empty() && line[0] != '#') entries_.emplace(line, false);
    }
    check(!entries_.empty(), ErrorKind::kUsage, "{}: lists no images", path_);
    for (const auto& [entry, used] : entries_) {
      short_names_.emplace(last_part(entry), entry);  // "b.v2" is b.v2.png without its extension
      short_names_.emplace(without_extension(last_part(entry)), entry);
    }
  }

  bool contains(const CocoImage& image) {
    const std::string_view name = without_extension(last_part(image.file_name));
    const auto by_name = short_names_.find(name);
    const auto by_id = entries_.find(fmt::format("{}", image.id));
    if (by_name == short_names_.end() && by_id == entries_.end()) return false;
    (by_name != short_names_.end() ? entries_.find(by_name->second) : by_id)->second = true;
    return true;
  }

  // Throws Error(kFormat) if an entry stood for no image.
  void check_used() const {
    std::vector<std::string> missing;
    for (const auto& [entry, used] : entries_) {
      if (!used) missing.push_back(entry);
    }
    const std::span listed(missing.data(), std::min<std::size_t>(missing.size(), 5));
    check(missing.empty(), ErrorKind::kFormat, "{}: {} of {} entries stand for no image: {}{}", path_, missing.size(),
          entries_.size(), fmt::join(listed, ", "), missing.size() > listed.size() ? ", ..." : "");
  }

 private:
  std::string path_;
  std::map<std::string, bool, std::less<>> entries_;  // and whether an image used it
  std::map<std::string, std::string, std::less<>> short_names_;
};

}  // namespace

void keep_listed_images(AnnotationSet& set, const std::filesystem::path& list) {
  ImageList listed(list);
  std::set<std::int64_t> kept;
  for (const CocoImage& image : set.images) {
    if (listed.contains(image)) kept.insert(image.id);
  }
  listed.check_used();
  std::erase_if(set.images, [&](const CocoImage& image) { return !kept.contains(image.id); });
  std::erase_if(set.annotations, [&](const CocoAnnotation& a) { return !kept.contains(a.image_id); });
}

void make_class_agnostic(AnnotationSet& set) {
  set.categories = {{1, "fg", "fg"}};
  for (CocoAnnotation& annotation : set.annotations) {
    annotation.category_id = 1;
    annotation.has_category = true;
  }
}

std::vector<std::vector<const CocoAnnotation*>> annotations_by_image(const AnnotationSet& set) {
  const IdIndex ids = index_images(set);
  std::vector<std::vector<const CocoAnnotation*>> lists(set.images.size());
  for (const CocoAnnotation& annotation : set.annotations)
    lists[static_cast<std::size_t>(ids.find(annotation.image_id))].push_back(&annotation);
  return lists;
}

}  // namespace usol::io
