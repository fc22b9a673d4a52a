#include "tests/support/rectangles.h"

#include <fmt/format.h>

#include <string>

#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/rle.h"
#include "usol/tensor/tensor.h"

namespace usol::test {

void write_rectangles(const std::filesystem::path& folder, const std::vector<RectanglePicture>& pictures) {
  io::CocoWriter writer(folder / "truth.json");
  std::int64_t id = 0;
  for (const RectanglePicture& p : pictures) {
    const std::string name = fmt::format("p{}.png", id++);
    Tensor image = Tensor::full({p.height, p.width, 3}, 40, DType::kU8),
           mask = Tensor::zeros({p.height, p.width}, DType::kU8);
    for (Tensor* tensor : {&image, &mask})
      tensor->slice(0, p.top, p.bottom).slice(1, p.left, p.right).fill(tensor == &mask ? 1 : 220);
    io::write_png(folder / name, image);
    writer.add_image({id, p.height, p.width, name});
    io::CocoAnnotation annotation;
    annotation.id = annotation.image_id = id;
    annotation.category_id = 1;
    annotation.box = {static_cast<double>(p.left), static_cast<double>(p.top), static_cast<double>(p.right - p.left),
                      static_cast<double>(p.bottom - p.top)};
    writer.add_annotation(annotation, io::rle_encode(mask));
  }
  writer.finish(std::vector<io::CocoCategory>{{1, "fg", "fg"}});
}

}  // namespace usol::test
