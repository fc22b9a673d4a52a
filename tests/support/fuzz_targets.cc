#include "tests/support/fuzz_targets.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <stdexcept>
#include <string>

#include "tests/support/bundle.h"
#include "tests/support/golden.h"
#include "usol/io/checkpoint.h"
#include "usol/io/checkpoint_files.h"
#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/json_stream.h"
#include "usol/io/npy.h"
#include "usol/io/pickle.h"
#include "usol/io/rle.h"
#include "usol/io/safetensors.h"
#include "usol/io/toml.h"
#include "usol/io/voc.h"
#include "usol/tensor/check.h"

namespace usol::test {
namespace {

using Input = std::span<const std::uint8_t>;

io::SharedBytes shared(Input input) {
  const auto bytes = std::as_bytes(input);
  return io::own_bytes({bytes.begin(), bytes.end()}, "fuzz");
}

/// Reads every element, so that a tensor that points outside of its memory is noticed.
void touch(const Tensor& tensor) {
  if (tensor.numel() <= (std::int64_t{1} << 20)) static_cast<void>(tensor.to(DType::kF64).contiguous());
}
void touch(const std::map<std::string, Tensor>& tensors) {
  for (const auto& item : tensors) touch(item.second);
}

void read_npy(Input input) {
  try {
    touch(io::parse_npy(shared(input)));
  } catch (const Error&) {
  }
}

void read_safetensors_bytes(Input input) {
  try {
    touch(io::parse_safetensors(shared(input)).tensors);
  } catch (const Error&) {
  }
}

void read_pickle(Input input) {
  try {
    static_cast<void>(io::parse_pickle(shared(input)));
  } catch (const Error&) {
  }
}

/// Any file of weights, .pth in both containers among them.
void read_checkpoint(Input input) {
  try {
    touch(io::parse_checkpoint(shared(input)).tensors);
  } catch (const Error&) {
  }
}

void read_index_or_config(Input input) {
  for (const bool index : {false, true}) {
    try {
      if (index)
        static_cast<void>(io::parse_checkpoint_index(shared(input)));
      else
        static_cast<void>(io::read_hub_config(shared(input)));
    } catch (const Error&) {
    }
  }
}

void read_toml_text(Input input) {
  try {
    static_cast<void>(io::parse_toml({reinterpret_cast<const char*>(input.data()), input.size()}, "fuzz"));
  } catch (const Error&) {
  }
}

constexpr std::int64_t kMaxPixels = 1 << 20;  // larger ones only cost time

/// What must hold whatever the bytes were; a violation is a finding, so it is no Error.
void require(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

void decode_picture(Input input) {
  io::DecodeWarnings warnings;
  const io::DecodeOptions options{.max_pixels = kMaxPixels, .warnings = &warnings};
  const auto bytes = std::as_bytes(input);
  try {
    const Tensor image = io::decode_image(bytes, "fuzz", options);
    require(io::image_size(bytes, "fuzz", options) == Size{image.size(0), image.size(1)}, "two sizes of one image");
    touch(image);
  } catch (const Error&) {
  }
  try {
    static_cast<void>(io::image_size(bytes, "fuzz", options));
  } catch (const Error&) {
  }
}

void split_json(Input input) {
  try {
    io::JsonSplitter splitter(shared(input));
    for (io::JsonPiece piece; splitter.next(piece);) {
      require(piece.offset + piece.text.size() <= input.size(), "a piece beyond the file");
      require(splitter.text().substr(piece.offset, piece.text.size()) == piece.text, "a piece that is not there");
    }
  } catch (const Error&) {
  }
}

/// A file that is only in memory, for readers that take a path.
class MemoryFile {
 public:
  explicit MemoryFile(Input input) : file_(memfd_create("fuzz", MFD_CLOEXEC)) {
    require(file_ >= 0 && write(file_, input.data(), input.size()) == static_cast<ssize_t>(input.size()), "no memfd");
  }
  ~MemoryFile() { close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::filesystem::path path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

void use(const io::AnnotationSet& set) {
  const io::IdIndex images = io::index_images(set);
  for (const io::CocoAnnotation& annotation : set.annotations) {
    const auto at = images.find(annotation.image_id);
    if (at < 0) continue;
    const io::CocoImage& image = set.images[static_cast<std::size_t>(at)];
    if (image.height > 4096 || image.width > 4096 || image.height * image.width > kMaxPixels) continue;
    try {
      require(io::rle_area(set.rle(annotation, image.height, image.width)) ==
                  set.mask_area(annotation, image.height, image.width),
              "two areas of one mask");
    } catch (const Error&) {
    }
  }
}

void read_coco_file(Input input) {
  const MemoryFile file(input);
  try {
    use(io::read_coco(file.path()));
  } catch (const Error&) {
  }
}

void read_voc_file(Input input) {
  const MemoryFile file(input);
  try {
    const io::AnnotationSet set = io::read_voc({file.path()});
    std::vector<const io::CocoAnnotation*> annotations;
    for (const auto& annotation : set.annotations) annotations.push_back(&annotation);
    for (const auto& image : set.images) static_cast<void>(io::voc_xml(set, image, annotations));
  } catch (const Error&) {
  }
}

/// Bytes 0 to 3: height and width; byte 4: how the rest is read (compressed counts, plain counts, a polygon).
void read_rle(Input input) {
  if (input.size() < 5) return;
  std::uint16_t size[2];
  std::memcpy(size, input.data(), sizeof size);
  const std::int64_t height = size[0] % 1024, width = size[1] % 1024;
  const Input rest = input.subspan(5);
  if (input[4] % 3 != 0 && rest.size() < 4) return;
  try {
    io::Rle mask;
    if (input[4] % 3 == 0) {
      mask = io::rle_from_string({reinterpret_cast<const char*>(rest.data()), rest.size()}, height, width);
    } else if (input[4] % 3 == 1) {
      std::vector<std::uint32_t> counts(rest.size() / 4);
      std::memcpy(counts.data(), rest.data(), counts.size() * 4);
      mask = io::rle_from_counts(std::move(counts), height, width);
    } else {
      std::vector<float> values(std::min<std::size_t>(rest.size() / 4, 64));
      std::memcpy(values.data(), rest.data(), values.size() * 4);
      const std::vector<std::vector<double>> polygons = {{values.begin(), values.end()}};
      // An edge across a million pixels is drawn step by step: large coordinates only cost time.
      if (std::any_of(values.begin(), values.end(), [](float v) { return v > 1e4f || v < -1e4f; })) return;
      mask = io::rle_from_polygons(polygons, height, width);
    }
    require(io::rle_from_string(io::rle_to_string(mask), height, width) == mask, "a mask that does not read back");
    const Tensor pixels = io::rle_decode(mask);
    require(io::rle_area(io::rle_encode(pixels)) == io::rle_area(mask), "two areas of one mask");
    const io::Box box = io::rle_to_box(mask);
    require(box[0] + box[2] <= static_cast<double>(width) && box[1] + box[3] <= static_cast<double>(height),
            "a box beyond the image");
    const io::Rle masks[] = {mask, mask};
    require(io::rle_area(io::rle_merge(masks, io::MaskMerge::kIntersection)) == io::rle_area(mask),
            "a mask that is not itself");
  } catch (const Error&) {
  }
}

using Seeds = std::vector<std::vector<std::uint8_t>>;

Seeds text_seeds(std::initializer_list<std::string_view> texts) {
  Seeds seeds;
  for (const auto text : texts) seeds.emplace_back(text.begin(), text.end());
  return seeds;
}
Seeds picture_seeds(const char* golden, const std::string& prefix) {
  Seeds seeds;
  for (const auto& [name, tensor] : load_golden(golden)) {
    if (name.starts_with(prefix) && name.ends_with(".file"))
      seeds.push_back(tensor.contiguous().to_vector<std::uint8_t>());
  }
  return seeds;
}
Seeds image_seeds() { return picture_seeds("image.safetensors", ""); }
Seeds avif_seeds() { return picture_seeds("image_formats.safetensors", "avif"); }
Seeds heic_seeds() { return picture_seeds("image_formats.safetensors", "heic"); }
Seeds pnm_seeds() { return picture_seeds("image_formats.safetensors", "pnm"); }
Seeds png_seeds() { return picture_seeds("image_formats.safetensors", "png"); }
Seeds tiff_seeds() { return picture_seeds("image_formats.safetensors", "tiff"); }
Seeds webp_seeds() { return picture_seeds("image_formats.safetensors", "webp"); }
Seeds json_seeds() {
  return text_seeds(
      {R"({"info": {"a": [1, "\u00e9\"]"]}, "images": [{"id": 1, "height": 8, "width": 6, "file_name": "a.jpg"}],
 "categories": [{"id": 1, "name": "fg", "supercategory": "fg"}],
 "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 1, 2.5, 3e0], "area": 7.5, "iscrowd": 0,
  "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]]},
 {"id": 2, "image_id": 1, "category_id": 1, "bbox": [0, 0, 6, 8], "area": 20, "iscrowd": 1,
  "segmentation": {"size": [8, 6], "counts": [10, 20, 18]}},
 {"id": 3, "image_id": 1, "category_id": 1, "bbox": [0, 0, 6, 8], "area": 12, "iscrowd": 0,
  "segmentation": {"size": [8, 6], "counts": "\\03T1"}}]})",
       R"([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5},
 {"image_id": 2, "category_id": 1, "segmentation": {"size": [6, 8], "counts": "`15:"}, "score": 1e-3}])",
       // What the reader repairs: text and huge ids, null and 0, backslashes, orphans, short polygons, no area, no box.
       "\xef\xbb\xbf"
       R"({"images": [{"id": "x1", "height": 0, "width": null, "file_name": "s\\a.jpg"},
  {"id": 18446744073709551615, "height": 8, "width": 6.0}, {"id": "007", "height": 9}],
 "categories": [{"id": "c", "name": null}],
 "annotations": [{"id": "a", "image_id": "x1", "category_id": "c", "segmentation": [[0, 0, 1, 1], [1, 1, 4, 1, 4, 4]]},
 {"id": 5, "image_id": "18446744073709551615", "bbox": [], "segmentation": {"size": [8, 6], "counts": [10, 20, 18]}},
 {"id": 5, "image_id": 7.0, "bbox": [-2, 0, 4, 4], "area": null, "iscrowd": null, "segmentation": [[]]},
 {"image_id": 99, "bbox": [0, 0, 1, 1]}, {"image_id": 7, "category_id": 3}]})",
       R"({"images":[{"id":1,"height":60000,"width":60000,"file_name":""}],"annotations":[]})", "[]", "{}"});
}
Seeds voc_seeds() {
  return text_seeds(
      {"<annotation><filename>a.jpg</filename><size><width>50</width><height>40</height><depth>3</depth></size>\n"
       "<object><name>dog</name><difficult>1</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30.5</xmax>"
       "<ymax> 40 </ymax></bndbox><part><name>head</name></part></object></annotation>",
       "<?xml version=\"1.0\"?><!-- c --><annotation><filename>b&amp;.jpg</filename><size><width>5</width><height>4"
       "</height></size><object><name>stone</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>4</ymax>"
       "</bndbox></object></annotation>",
       "<annotation><filename>s\\c.jpg</filename><size><width>0</width></size><object><name>dog</name><bndbox><xmin>0"
       "</xmin><ymin>-1</ymin><xmax>9</xmax><ymax>4</ymax></bndbox></object></annotation>"});
}
Seeds rle_seeds() {
  using namespace std::string_view_literals;
  return text_seeds({"\x08\x00\x06\x00\x00`15:"sv, "\x16\x00\x0f\x00\x00R2R2R200"sv,
                     "\x02\x00\x02\x00\x01\x01\x00\x00\x00\x03\x00\x00\x00"sv,
                     "\x10\x00\x10\x00\x02\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x10\x41\x00\x00\x20\x41"
                     "\x00\x00\x40\x40\x00\x00\x20\xc1"sv});
}

Seeds bundle_seeds(std::initializer_list<const char*> bundles) {
  Seeds seeds;
  for (const char* bundle : bundles) {
    for (const auto& [name, file] : load_bundle(bundle)) {
      if (name.ends_with(".error")) continue;
      const auto* data = reinterpret_cast<const std::uint8_t*>(file.bytes.data());
      seeds.emplace_back(data, data + file.size());
    }
  }
  return seeds;
}
// The bundles of weights hold PyTorch files and pickles, and their expected contents as safetensors.
Seeds weights_seeds() { return bundle_seeds({"weights_1.13.1.bin", "weights_2.15.0.bin", "foreign_pickles.bin"}); }
Seeds hub_json_seeds() {
  return text_seeds(
      {R"({"metadata": {"total_size": 12}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "x"}})",
       R"({"model_type": "dinov2", "hidden_size": 64, "num_attention_heads": 1, "hidden_act": "gelu",
 "layer_norm_eps": 1e-06, "out_features": ["a", {"b": [1]}]})"});
}
Seeds npy_seeds() { return bundle_seeds({"npy.bin"}); }
Seeds toml_seeds() {
  return text_seeds({"tau = 0.15 # c\n[maskcut]\nout = \"a\\u00e9\\n\"\ninputs = ['a', \"b\", # c\n]\r\n",
                     "a.b.\"c\" = [1_0, -inf, true]"});
}

}  // namespace

const std::vector<FuzzTarget>& fuzz_targets() {
  static const std::vector<FuzzTarget> targets = {{"avif", decode_picture, avif_seeds},
                                                  {"checkpoint", read_checkpoint, weights_seeds},
                                                  {"coco", read_coco_file, json_seeds},
                                                  {"heic", decode_picture, heic_seeds},
                                                  {"hub_json", read_index_or_config, hub_json_seeds},
                                                  {"image", decode_picture, image_seeds},
                                                  {"json", split_json, json_seeds},
                                                  {"npy", read_npy, npy_seeds},
                                                  {"pickle", read_pickle, weights_seeds},
                                                  {"png", decode_picture, png_seeds},
                                                  {"pnm", decode_picture, pnm_seeds},
                                                  {"rle", read_rle, rle_seeds},
                                                  {"safetensors", read_safetensors_bytes, weights_seeds},
                                                  {"tiff", decode_picture, tiff_seeds},
                                                  {"toml", read_toml_text, toml_seeds},
                                                  {"voc", read_voc_file, voc_seeds},
                                                  {"webp", decode_picture, webp_seeds}};
  return targets;
}

const FuzzTarget& fuzz_target(std::string_view name) {
  for (const FuzzTarget& target : fuzz_targets()) {
    if (target.name == name) return target;
  }
  fail(ErrorKind::kInvalidArgument, fmt::format("no fuzz target '{}'", name));
}

}  // namespace usol::test
