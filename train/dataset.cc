#include "usol/train/dataset.h"

#include <algorithm>
#include <utility>

#include "usol/io/image.h"
#include "usol/io/rle.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol::train {

Dataset::Dataset(const fs::path& annotations, fs::path image_root, const io::DecodeOptions& decode, Learned learned,
                 std::int64_t embedding)
    : set_(io::read_coco(
          annotations,
          {.segmentations = learned == Learned::kMasks, .image_root = image_root, .apply_exif = decode.apply_exif})),
      image_root_(std::move(image_root)),
      decode_(decode),
      masks_(learned == Learned::kMasks) {
  check(fs::is_directory(image_root_), ErrorKind::kUsage, "{}: no such folder of pictures", image_root_.string());
  check(!set_.is_results, ErrorKind::kUsage, "{}: a list of results; training needs images and categories as well",
        set_.name);
  for (const io::CocoCategory& category : set_.categories) category_ids_.push_back(category.id);
  std::sort(category_ids_.begin(), category_ids_.end());
  const io::IdIndex by_id = io::index_images(set_);
  // Counting sort of the annotations by image.
  std::vector<std::int64_t> counts(set_.images.size() + 1, 0), image_of(set_.annotations.size(), -1);
  for (std::size_t a = 0; a < set_.annotations.size(); ++a) {
    const io::CocoAnnotation& annotation = set_.annotations[a];
    if (annotation.is_crowd || annotation.lost_mask) continue;
    check(annotation.has_box && annotation.has_category, ErrorKind::kFormat,
          "{}: training needs its bbox and category_id", set_.place(annotation));
    check(!masks_ || annotation.segmentation.kind != io::Segmentation::Kind::kNone, ErrorKind::kFormat,
          "{}: it has no segmentation, which this detector learns from; an R-CNN without a mask head and SOLOv2 with "
          "BoxInst's loss learn from boxes alone",
          set_.place(annotation));
    check(std::binary_search(category_ids_.begin(), category_ids_.end(), annotation.category_id), ErrorKind::kFormat,
          "{}: category {} is not in the file's categories", set_.place(annotation), annotation.category_id);
    image_of[a] = by_id.find(annotation.image_id);
    ++counts[static_cast<std::size_t>(image_of[a]) + 1];
  }
  std::vector<std::int64_t> at(set_.images.size());
  first_.push_back(0);
  for (std::size_t i = 0; i < set_.images.size(); ++i) {
    if (counts[i + 1] == 0) continue;
    images_.push_back(static_cast<std::int64_t>(i));
    at[i] = first_.back();
    first_.push_back(first_.back() + counts[i + 1]);
  }
  order_.resize(static_cast<std::size_t>(first_.back()));
  for (std::size_t a = 0; a < image_of.size(); ++a)
    if (image_of[a] >= 0)
      order_[static_cast<std::size_t>(at[static_cast<std::size_t>(image_of[a])]++)] = static_cast<std::int64_t>(a);
  if (embedding > 0) embeddings_ = io::read_coco_embeddings(annotations, embedding);
  check(!images_.empty(), ErrorKind::kUsage, "{}: no image has objects to learn from", set_.name);
}

const io::CocoImage& Dataset::image(std::int64_t index) const {
  return set_.images[static_cast<std::size_t>(images_.at(static_cast<std::size_t>(index)))];
}

std::span<const std::int64_t> Dataset::annotations_of(std::int64_t index) const {
  const auto i = static_cast<std::size_t>(index);
  return std::span(order_).subspan(static_cast<std::size_t>(first_[i]),
                                   static_cast<std::size_t>(first_[i + 1] - first_[i]));
}

Tensor rows_at(const Tensor& rows, const std::vector<std::int64_t>& positions) {
  if (!rows.defined()) return {};
  Tensor result = Tensor::empty({static_cast<std::int64_t>(positions.size()), rows.size(1)}, rows.dtype());
  for (std::size_t i = 0; i < positions.size(); ++i)
    result.select(0, static_cast<std::int64_t>(i)).copy_from(rows.select(0, positions[i]));
  return result;
}

Sample decoded(const CompactSample& sample) {
  Sample result{sample.image, {}, sample.boxes, sample.classes};
  result.embeddings = sample.embeddings;
  if (!sample.has_masks) return result;
  result.masks = Tensor::empty({sample.size(), sample.height(), sample.width()}, DType::kU8);
  for (std::int64_t i = 0; i < sample.size(); ++i)
    result.masks.select(0, i).copy_from(io::rle_decode(sample.masks[static_cast<std::size_t>(i)]));
  return result;
}

Tensor Dataset::picture(std::int64_t index) const { return decode_picture(path(index), decode_); }

std::string Dataset::why_unreadable(std::int64_t index) const {
  try {
    picture(index);
  } catch (const UnreadablePicture& error) {
    return error.what();
  }
  return {};
}

PictureReport Dataset::check_pictures(const std::function<bool()>& stop) const {
  const auto expected = [this](std::int64_t i) -> ExpectedPicture {
    return {path(i), {image(i).height, image(i).width}};
  };
  return train::check_pictures(size(), expected, decode_, stop);
}

CompactSample Dataset::load(std::int64_t index) const {
  const io::CocoImage& about = image(index);
  CompactSample sample;
  sample.image = picture(index);
  sample.has_masks = masks_;
  const std::int64_t height = sample.image.size(0), width = sample.image.size(1);
  check(height == about.height && width == about.width, ErrorKind::kFormat,
        "{}: {} x {} pixels (height x width), but {} says {} x {}", path(index).string(), height, width, set_.name,
        about.height, about.width);
  const auto annotations = annotations_of(index);
  const auto n = static_cast<std::int64_t>(annotations.size());
  std::vector<float> boxes, embeddings;
  for (std::int64_t i = 0; i < n; ++i) {
    const io::CocoAnnotation& annotation =
        set_.annotations[static_cast<std::size_t>(annotations[static_cast<std::size_t>(i)])];
    if (masks_) sample.masks.push_back(set_.rle(annotation, height, width));
    const auto& [left, top, w, h] = annotation.box;
    for (double side : {left, top, left + w, top + h}) boxes.push_back(static_cast<float>(side));
    const auto place = std::lower_bound(category_ids_.begin(), category_ids_.end(), annotation.category_id);
    sample.classes.push_back(place - category_ids_.begin());
    const std::int64_t position = annotations[static_cast<std::size_t>(i)];
    const auto row = embeddings_.of(annotation.record < 0 ? position : annotation.record);
    embeddings.insert(embeddings.end(), row.begin(), row.end());
    embeddings.resize(static_cast<std::size_t>((i + 1) * embedding()));  // zeros for one without
  }
  if (embedding() > 0) sample.embeddings = Tensor::from(embeddings, {n, embedding()});
  sample.boxes = Tensor::from(boxes, {n, 4});
  return sample;
}

}  // namespace usol::train
