#include "usol/io/mask_picture.h"

#include <cstdint>
#include <vector>

#include "usol/io/rle.h"

namespace usol::io {

Tensor mask_picture(const AnnotationSet& set, const CocoImage& image,
                    std::span<const CocoAnnotation* const> annotations) {
  // Where there is no mask at all, the union is this empty one.
  std::vector<Rle> masks = {{image.height, image.width, {static_cast<std::uint32_t>(image.height * image.width)}}};
  for (const CocoAnnotation* annotation : annotations) masks.push_back(set.rle(*annotation, image.height, image.width));
  Tensor picture = rle_decode(rle_merge(masks, MaskMerge::kUnion));
  auto* pixels = picture.mutable_data<std::uint8_t>();
  for (std::int64_t p = 0; p < picture.numel(); ++p) pixels[p] = static_cast<std::uint8_t>(pixels[p] * 255);
  return picture;
}

}  // namespace usol::io
