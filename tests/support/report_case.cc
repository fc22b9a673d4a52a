#include "tests/support/report_case.h"

#include <fmt/format.h>

#include <cstdint>
#include <vector>

#include "usol/io/coco.h"
#include "usol/io/coco_record.h"
#include "usol/io/image.h"

namespace fs = std::filesystem;

namespace usol::test {
namespace {

struct Object {
  std::int64_t image, x, y, width, height;
  double score;
};

io::Rle rectangle(const Object& object, std::int64_t height, std::int64_t width) {
  Tensor mask = Tensor::zeros({height, width}, DType::kU8);
  mask.slice(0, object.y, object.y + object.height)
      .slice(1, object.x, object.x + object.width)
      .copy_from(Tensor::full({object.height, object.width}, 1, DType::kU8));
  return io::rle_encode(mask);
}

void write_set(const fs::path& path, const std::vector<io::CocoImage>& images, const std::vector<Object>& objects,
               bool scores) {
  io::CocoWriter writer(path);
  for (const io::CocoImage& image : images) writer.add_image(image);
  std::int64_t id = 0;
  for (const Object& object : objects) {
    const io::CocoImage& image = images[static_cast<std::size_t>(object.image - 1)];
    const io::Rle rle = rectangle(object, image.height, image.width);
    io::CocoAnnotation annotation;
    annotation.id = ++id;
    annotation.image_id = object.image;
    annotation.category_id = 1;
    annotation.box = io::rle_to_box(rle);
    annotation.area = static_cast<double>(io::rle_area(rle));
    annotation.score = object.score;
    annotation.has_score = scores;
    writer.add_annotation(annotation, rle);
  }
  const std::vector<io::CocoCategory> categories = {{1, "fg", "fg"}};
  writer.finish(categories);
}

}  // namespace

void write_report_case(const fs::path& folder) {
  fs::create_directories(folder / "pictures/sub");
  std::vector<io::CocoImage> images;
  for (const char* name : {"p0.png", "p1.png", "sub/p2.png", "p3.png"}) {
    images.push_back({static_cast<std::int64_t>(images.size()) + 1, 40, 60, name});
    Tensor picture = Tensor::full({40, 60, 3}, 90 + 40 * static_cast<double>(images.size()), DType::kU8);
    picture.slice(0, 5, 20).slice(1, 10, 30).copy_from(Tensor::full({15, 20, 3}, 40, DType::kU8));
    io::write_png(folder / "pictures" / name, picture);
  }
  write_set(folder / "truth.json", images,
            {{1, 10, 5, 20, 15, 0}, {1, 40, 25, 12, 10, 0}, {2, 10, 5, 20, 15, 0}, {3, 10, 5, 20, 15, 0}}, false);
  write_set(folder / "a.json", images,
            {{1, 10, 5, 20, 15, 0.9},
             {1, 41, 25, 12, 10, 0.4},
             {2, 12, 5, 20, 15, 0.6},
             {4, 0, 0, 5, 5, 0.3},
             {4, 10, 0, 5, 5, 0.2},
             {4, 20, 0, 5, 5, 0.1}},
            true);
  write_set(folder / "b.json", images, {{1, 10, 6, 20, 15, 0.8}, {2, 40, 25, 12, 10, 0.5}, {3, 40, 25, 12, 10, 0.7}},
            true);
}

std::string write_groups_case(const fs::path& folder) {
  write_report_case(folder);
  const io::AnnotationSet set = io::read_coco(folder / "a.json");
  struct Field {
    int group;
    double similarity, margin;
  };
  const std::vector<Field> fields{{1, 0.9, 0.4}, {2, 0.8, 0.3}, {1, 0.95, 0.2},
                                  {2, 0.7, 0.1}, {3, 0.6, 0.1}, {0, 0.1, 0}};
  io::CocoWriter writer(folder / "groups.json");
  for (const io::CocoImage& image : set.images) writer.add_image(image);
  for (std::size_t i = 0; i < fields.size(); ++i) {
    io::CocoAnnotation object = set.annotations[i];
    object.category_id = fields[i].group == 0 ? 4 : fields[i].group;
    std::string line = io::coco_annotation_json(object, set);
    line.pop_back();  // }
    writer.add_annotation_json(fmt::format("{}, \"group\": {}, \"similarity\": {}, \"margin\": {}}}", line,
                                           fields[i].group, fields[i].similarity, fields[i].margin));
  }
  std::vector<io::CocoCategory> categories;
  for (const int group : {1, 2, 3}) categories.push_back({group, fmt::format("group {}", group), "group"});
  categories.push_back({4, "other", "other"});
  writer.finish(categories);
  return (folder / "groups.json").string();
}

std::string write_noise_case(const fs::path& folder, int count) {
  fs::create_directories(folder);
  std::vector<io::CocoImage> images;
  std::vector<Object> objects;
  std::uint32_t state = 7;
  for (int i = 0; i < count; ++i) {
    images.push_back({i + 1, 300, 400, fmt::format("n{:02}.png", i)});
    objects.push_back({i + 1, 20 + i, 30, 100, 80, 0.5});
    Tensor picture = Tensor::empty({300, 400, 3}, DType::kU8);
    auto* pixels = picture.mutable_data<std::uint8_t>();
    for (std::int64_t k = 0; k < picture.numel(); ++k) {
      state = state * 1664525u + 1013904223u;
      pixels[k] = static_cast<std::uint8_t>(state >> 24);
    }
    io::write_png(folder / images.back().file_name, picture);
  }
  write_set(folder / "run.json", images, objects, true);
  return (folder / "run.json").string();
}

}  // namespace usol::test
