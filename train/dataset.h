#pragma once
// The pictures and objects that the detector is trained on: a COCO file and a folder. Annotations stay as compact as
// the file has them (runs, not pixels) until a picture is asked for.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "usol/io/coco.h"
#include "usol/io/coco_embeddings.h"
#include "usol/io/image.h"
#include "usol/io/picture_path.h"
#include "usol/tensor/tensor.h"
#include "usol/train/bit_mask.h"
#include "usol/train/picture_check.h"

namespace usol::train {

/// A picture with its objects, decoded.
struct Sample {
  Tensor image;                       // u8 [H, W, 3] RGB
  Tensor masks;                       // u8 [G, H, W] of 0 and 1; undefined in a data set of boxes alone
  Tensor boxes;                       // f32 [G, 4], x0 y0 x1 y1
  std::vector<std::int64_t> classes;  // [G], from 0
  // [G], outside of which the masks are 0; not known if empty. Whoever changes masks clears it.
  std::vector<PixelBox> rooms = {};
  std::int64_t file_height = 0;  // of the picture before it was resized; 0: it was not
  // f32 [G, E], numbers for the objects' looks; zeros for an object without; undefined in a data set without.
  Tensor embeddings = {};

  std::int64_t size() const { return static_cast<std::int64_t>(classes.size()); }
  std::int64_t height() const { return image.size(0); }
  std::int64_t width() const { return image.size(1); }
};

/// A picture with its objects' masks as runs: hundreds of objects of a large picture need little memory.
struct CompactSample {
  Tensor image;  // as in Sample
  std::vector<io::Rle> masks;
  Tensor boxes;
  std::vector<std::int64_t> classes;
  bool has_masks = true;   // false: of a data set of boxes alone, `masks` is empty
  Tensor embeddings = {};  // as in Sample

  std::int64_t size() const { return static_cast<std::int64_t>(classes.size()); }
  std::int64_t height() const { return image.size(0); }
  std::int64_t width() const { return image.size(1); }
};
/// With all masks decoded, if it has any.
Sample decoded(const CompactSample& sample);

/// Rows of a tensor [N, E] at these positions, in this order; of an undefined one an undefined one.
Tensor rows_at(const Tensor& rows, const std::vector<std::int64_t>& positions);

/// What a detector learns of an object.
enum class Learned { kMasks, kBoxes };

class Dataset {
 public:
  /// Reads the annotations. Crowds and objects that lost their masks (AnnotationSet::report counts them) are left out,
  /// and pictures without other objects too. Classes are the categories by ascending id. For kBoxes masks are neither
  /// needed nor kept. `embedding` numbers for an object's looks are read where annotations have them (0: they are not
  /// looked at). Throws what read_coco() throws; Error(kFormat) for an annotation that had no box, category or
  /// (for kMasks) mask; what read_coco_embeddings() throws; Error(kUsage) if no picture has objects or `image_root` is
  /// no folder.
  Dataset(const std::filesystem::path& annotations, std::filesystem::path image_root,
          const io::DecodeOptions& decode = {}, Learned learned = Learned::kMasks, std::int64_t embedding = 0);

  /// Pictures with objects.
  std::int64_t size() const { return static_cast<std::int64_t>(images_.size()); }
  std::int64_t objects() const { return static_cast<std::int64_t>(order_.size()); }
  std::int64_t classes() const { return static_cast<std::int64_t>(category_ids_.size()); }
  /// Numbers for the looks of each object; 0: no object has any, or they were not asked for.
  std::int64_t embedding() const { return embeddings_.width; }
  const io::CocoImage& image(std::int64_t index) const;
  /// As they were read.
  const io::AnnotationSet& annotations() const { return set_; }
  /// Decodes the picture. Boxes are the file's, not the masks'. Throws UnreadablePicture, and Error naming
  /// the file if it has another size than the annotations say. May be called from several threads.
  CompactSample load(std::int64_t index) const;
  /// What is wrong with a picture that load() cannot read; "" for others.
  std::string why_unreadable(std::int64_t index) const;
  /// Looks at the headers of all pictures (train/picture_check.h).
  PictureReport check_pictures(const std::function<bool()>& stop = {}) const;

 private:
  std::filesystem::path path(std::int64_t index) const { return io::picture_path(image_root_, image(index).file_name); }
  Tensor picture(std::int64_t index) const;
  std::span<const std::int64_t> annotations_of(std::int64_t index) const;

  io::AnnotationSet set_;
  std::filesystem::path image_root_;
  io::DecodeOptions decode_;
  bool masks_;
  io::CocoEmbeddings embeddings_;
  std::vector<std::int64_t> category_ids_;   // ascending
  std::vector<std::int64_t> images_;         // positions in set_.images
  std::vector<std::int64_t> first_, order_;  // annotations of images_[i]: order_[first_[i] .. first_[i + 1])
};

}  // namespace usol::train
