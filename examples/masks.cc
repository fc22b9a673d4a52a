// Masks of one picture, as COCO JSON on standard output: MaskCut on DINO's features, or by contrast without them.
//
//   masks PICTURE [WEIGHTS]
#include <usol/io/coco.h>
#include <usol/io/image.h>
#include <usol/io/rle.h>
#include <usol/pipeline/mask_cut.h>
#include <usol/pipeline/maskcut_job.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <vector>

int main(int argc, char** argv) try {
  if (argc < 2) return std::fprintf(stderr, "usage: masks PICTURE [WEIGHTS]\n"), 2;
  const usol::Tensor image = usol::io::decode_image(argv[1]);
  const usol::MaskCut cut = argc > 2 ? usol::MaskCut::open(argv[2]) : usol::MaskCut::by_contrast();

  usol::io::CocoWriter writer("/dev/stdout");
  writer.add_image({1, image.size(0), image.size(1), std::filesystem::path(argv[1]).filename().string()});
  std::int64_t id = 0;
  for (const usol::maskcut::PseudoMask& mask : cut.masks(image).masks) {
    const usol::io::Rle rle = usol::io::rle_encode(mask.mask);
    usol::io::CocoAnnotation annotation = usol::maskcut_annotation(/*image_id=*/1, mask, rle);
    annotation.id = ++id;
    writer.add_annotation(annotation, rle);
  }
  writer.finish(std::vector<usol::io::CocoCategory>{{1, "fg", "fg"}});
} catch (const std::exception& error) {
  std::fprintf(stderr, "masks: %s\n", error.what());
  return 1;
}
