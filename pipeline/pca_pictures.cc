#include "usol/pipeline/pca_pictures.h"

#include <functional>
#include <map>
#include <utility>

#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/safetensors.h"
#include "usol/maskcut/principal_components.h"
#include "usol/pipeline/inputs.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;

namespace usol {
namespace {

constexpr std::int64_t kColours = 3;

}  // namespace

void PcaOptions::declare(Settings& settings) {
  settings.add("pca DIR", folder,
               "Also pictures (PNG) of the first three principal components of the features as red, green and blue: "
               "patches of like colours are alike to the network",
               OptionKind::kRun);
  settings.choice("pca-of", of, {"set", "picture"},
                  "Whose patches the components are of: all pictures', so that colours can be compared, or each one's",
                  OptionKind::kRun);
}

void write_pca_pictures(const Run& run, const PcaOptions& options, const fs::path& list, std::int64_t patch_px,
                        io::OutputFolder& pictures) {
  const io::AnnotationSet done = io::read_coco(list);
  const fs::path folder = list.parent_path();
  const auto features_of = [&](const io::CocoImage& image) {
    run.throw_if_stopped();
    const fs::path file = output_path(folder, image.file_name, ".safetensors");
    auto tensors = io::load_safetensors(file);
    check(tensors.contains("features"), ErrorKind::kFormat, "{}: holds no tensor 'features'", file.string());
    return std::move(tensors["features"]);
  };
  maskcut::PatchMoments all;
  if (options.of == "set")
    for (const io::CocoImage& image : done.images) all.add(features_of(image));
  maskcut::PrincipalComponents components;
  if (all.patches() > 0) components = all.components(kColours);
  for (const io::CocoImage& image : done.images) {
    const Tensor features = features_of(image);
    if (options.of == "picture") {
      maskcut::PatchMoments own;
      own.add(features);
      components = own.components(kColours);
    }
    const Tensor colours = maskcut::component_colours(components.scores(features), patch_px);
    pictures.write(output_path({}, image.file_name, ".png").generic_string(), io::encode_png(colours));
  }
  run.note("wrote {} pictures of principal components to {}", done.images.size(), options.folder);
}

}  // namespace usol
