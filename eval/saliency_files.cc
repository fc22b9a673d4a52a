// Maps and masks are read a few at a time, on all threads; scores are added in the order of names.
#include "usol/eval/saliency_files.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "usol/io/coco.h"
#include "usol/io/coco_subset.h"
#include "usol/io/image.h"
#include "usol/io/image_formats.h"
#include "usol/io/mask_picture.h"
#include "usol/io/npy.h"
#include "usol/io/picture_path.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace fs = std::filesystem;

namespace usol::eval {

namespace {

// "folder/name" of "folder/name.png".
std::string without_extension(const fs::path& path) { return (path.parent_path() / path.stem()).generic_string(); }

// Grey of a picture, with the weights of Pillow's convert("L").
Tensor to_grey(const Tensor& rgb) {
  Tensor grey = Tensor::empty({rgb.size(0), rgb.size(1)}, DType::kU8);
  const auto* in = rgb.data<std::uint8_t>();
  auto* out = grey.mutable_data<std::uint8_t>();
  for (std::int64_t i = 0; i < grey.numel(); ++i) {
    const auto* p = in + 3 * i;
    out[i] = static_cast<std::uint8_t>((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
  }
  return grey;
}

// Named maps, u8 [H, W] of 0..255 or f32 [H, W] of 0..1.
class Maps {
 public:
  virtual ~Maps() = default;
  virtual const std::vector<std::string>& names() const = 0;
  /// Position of the name, or -1.
  std::int64_t find(const std::string& name) const {
    const auto& all = names();
    const auto found = std::lower_bound(all.begin(), all.end(), name);
    return found != all.end() && *found == name ? found - all.begin() : -1;
  }
  virtual Tensor load(std::size_t index) const = 0;
  /// The COCO file they come from; null for a folder.
  virtual const io::AnnotationSet* set() const { return nullptr; }
  /// For messages.
  virtual std::string place(std::size_t index) const = 0;
};

class FolderMaps : public Maps {
 public:
  FolderMaps(const fs::path& folder, const SaliencyFilesOptions& options) : decode_(options.decode) {
    std::map<std::string, fs::path> files;
    std::vector<fs::path> left_out;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      const std::string extension = entry.path().extension().string();
      if (entry.is_directory() || (extension != ".npy" && !io::is_picture_name(entry.path()))) continue;
      if (entry.exists() && !entry.is_regular_file()) {
        left_out.push_back(entry.path());
        continue;
      }
      const auto [previous, added] = files.emplace(without_extension(fs::relative(entry.path(), folder)), entry.path());
      check(added, ErrorKind::kUsage, "{} and {} differ only in their extension", previous->second.string(),
            entry.path().string());
    }
    std::sort(left_out.begin(), left_out.end());
    if (!left_out.empty() && options.on_left_out) options.on_left_out(left_out);
    check(!files.empty(), ErrorKind::kUsage, "{}: no pictures and no .npy files", folder.string());
    for (auto& [name, path] : files) {
      names_.push_back(name);
      paths_.push_back(path);
    }
  }
  const std::vector<std::string>& names() const override { return names_; }
  std::string place(std::size_t index) const override { return paths_[index].string(); }
  Tensor load(std::size_t index) const override {
    const fs::path& path = paths_[index];
    if (path.extension() != ".npy") return to_grey(io::decode_image(path, decode_));
    const Tensor map = io::load_npy(path);
    check(map.rank() == 2, ErrorKind::kFormat, "{}: expected a map [H, W], got shape {}", path.string(), map.shape());
    return map.dtype() == DType::kU8 ? map : map.to(DType::kF32);
  }

 private:
  io::DecodeOptions decode_;
  std::vector<std::string> names_;
  std::vector<fs::path> paths_;
};

// The union of an image's masks.
class CocoMaps : public Maps {
 public:
  CocoMaps(io::AnnotationSet set, bool named_by_id) : set_(std::move(set)) {
    check(!set_.is_results, ErrorKind::kUsage, "{}: expected a COCO data set, got a list of results", set_.name);
    std::map<std::string, std::size_t> images;
    for (std::size_t i = 0; i < set_.images.size(); ++i) {
      const io::CocoImage& image = set_.images[i];
      const std::string name =
          named_by_id ? fmt::format("{:020}", image.id) : without_extension(io::portable_name(image.file_name));
      check(images.emplace(name, i).second, ErrorKind::kUsage, "{}: two images are named '{}'", set_.name, name);
      check(image.height > 0 && image.width > 0, ErrorKind::kFormat, "{}: images[{}] has no height and width",
            set_.name, i);
    }
    masks_ = annotations_by_image(set_);
    for (const auto& [name, index] : images) {
      names_.push_back(name);
      order_.push_back(index);
    }
  }
  const std::vector<std::string>& names() const override { return names_; }
  std::string place(std::size_t index) const override {
    return fmt::format("{}: images[{}]", set_.name, order_[index]);
  }
  Tensor load(std::size_t index) const override {
    const io::CocoImage& image = set_.images[order_[index]];
    return mask_picture(set_, image, masks_[order_[index]]);
  }
  const io::AnnotationSet* set() const override { return &set_; }

 private:
  io::AnnotationSet set_;
  std::vector<std::vector<const io::CocoAnnotation*>> masks_;  // of each image
  std::vector<std::string> names_;                             // sorted
  std::vector<std::size_t> order_;                             // image of each name
};

std::unique_ptr<Maps> open(const fs::path& path, bool named_by_id, const SaliencyFilesOptions& options) {
  if (fs::is_directory(path)) return std::make_unique<FolderMaps>(path, options);
  io::AnnotationSet set = io::read_coco(path, options.reading);
  if (options.on_read) options.on_read(set);
  return std::make_unique<CocoMaps>(std::move(set), named_by_id);
}

}  // namespace

SaliencyMean score_saliency_files(const fs::path& truth_path, const fs::path& prediction_path,
                                  const SaliencyFilesOptions& options) {
  const bool by_id = options.matching.by == "id" && !fs::is_directory(truth_path) && !fs::is_directory(prediction_path);
  const auto truths = open(truth_path, by_id, options);
  const auto predictions = open(prediction_path, by_id, options);
  if (by_id && !options.matching.ids_are_certain) check_ids_mean_the_same(*truths->set(), *predictions->set());
  std::vector<std::size_t> partners;
  std::vector<std::string> missing;
  for (const std::string& name : truths->names()) {
    const std::int64_t found = predictions->find(name);
    if (found < 0) missing.push_back(name);
    partners.push_back(static_cast<std::size_t>(found));
  }
  const std::span listed(missing.data(), std::min<std::size_t>(missing.size(), 5));
  check(missing.empty(), ErrorKind::kFormat, "{}: no map for {} of {} truths: {}{}", prediction_path.string(),
        missing.size(), truths->names().size(), fmt::join(listed, ", "), missing.size() > listed.size() ? ", ..." : "");

  std::vector<SaliencyScores> scores(partners.size());
  parallel_for_each(0, static_cast<std::int64_t>(partners.size()), [&](std::int64_t i) {
    const auto index = static_cast<std::size_t>(i);
    Tensor truth = truths->load(index);
    if (truth.dtype() != DType::kU8) {
      fail(ErrorKind::kFormat, fmt::format("{}: expected a mask of u8, got {}", truths->place(index), truth.dtype()));
    }
    try {
      scores[index] = saliency_scores(predictions->load(partners[index]), truth);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kInvalidArgument) throw;
      fail(ErrorKind::kFormat,
           fmt::format("{} and {}: {}", predictions->place(partners[index]), truths->place(index), error.what()));
    }
  });
  SaliencyMean mean;
  for (const SaliencyScores& one : scores) mean.add(one);
  return mean;
}

}  // namespace usol::eval
