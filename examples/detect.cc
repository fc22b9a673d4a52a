// The objects that a trained detector finds in one picture: a line for each with score and box, and the picture with
// them drawn in if a third argument names a file for it.
//
//   detect WEIGHTS PICTURE [OUT.jpg]
#include <usol/io/checkpoint.h>
#include <usol/io/image.h>
#include <usol/models/detector.h>
#include <usol/pipeline/detect.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

int main(int argc, char** argv) try {
  if (argc < 3) return std::fprintf(stderr, "usage: detect WEIGHTS PICTURE [OUT.jpg]\n"), 2;
  usol::io::Checkpoint checkpoint = usol::io::load_checkpoint(argv[1]);
  const std::unique_ptr<usol::Detector> detector = usol::load_detector(std::move(checkpoint.tensors), argv[1]);
  const usol::detection::Info info = detector->info();

  const usol::Tensor image = usol::io::decode_image(argv[2]);
  const usol::Tensor resized = usol::resized_for_network(image, info.short_px, info.long_px);
  const std::vector<usol::FoundObject> found = usol::find_objects(*detector, image, resized, {.score = 0.35});
  for (const usol::FoundObject& object : found)
    std::printf("%.3f  x %.1f y %.1f  %.1f x %.1f px\n", object.score, object.box[0], object.box[1], object.box[2],
                object.box[3]);
  if (argc > 3) usol::io::write_jpeg(argv[3], usol::draw_found(image, found));
} catch (const std::exception& error) {
  std::fprintf(stderr, "detect: %s\n", error.what());
  return 1;
}
