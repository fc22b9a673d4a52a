// The numbers that transformers publishes for DINOv3's weights, for whoever has the files: scripts/check-dinov3 starts
// this with a file of weights and the picture that they were made with. Skipped without them.
// Source: transformers, models/dinov3_vit/convert_dinov3_vit_to_hf.py (picture 39769 of COCO's val2017 at 224 x 224).
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "usol/autograd/grad_mode.h"
#include "usol/io/checkpoint.h"
#include "usol/io/image.h"
#include "usol/models/vit.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/interpolate.h"
#include "usol/ops/view.h"

namespace usol {
namespace {

using Five = std::array<float, 5>;

// The first numbers of the class token and of the first patch, normalised.
struct Published {
  const char* network;
  Five class_token, patch;
};

constexpr Published kPublished[] = {{"ViT-S/16",
                                     {0.463561833f, -0.415609360f, 0.408236891f, -0.126613364f, -0.286636919f},
                                     {-0.038754221f, -0.250895441f, -0.016392905f, -0.455473632f, 0.571582198f}},
                                    {"ViT-S+/16",
                                     {-0.471349418f, -1.365778923f, -0.317983240f, 0.377219409f, -0.769085705f},
                                     {0.144551888f, -0.388117462f, -0.393433958f, -0.157695487f, -0.600380123f}},
                                    {"ViT-B/16",
                                     {1.034643173f, -0.180609286f, -0.341018260f, -0.066376954f, -0.011383970f},
                                     {-0.082523741f, -0.456272781f, -0.728029966f, -0.430680245f, -0.152880192f}},
                                    {"ViT-L/16",
                                     {0.484527111f, -0.582214713f, 0.480636120f, 0.592040360f, 0.945166469f},
                                     {-0.211367384f, -0.490863562f, -0.257131487f, 0.101763934f, 0.154511243f}},
                                    {"ViT-H+/16",
                                     {-0.064575911f, -0.148866802f, -0.621524394f, 0.634878755f, 0.152695656f},
                                     {-0.093817383f, 0.287407249f, -0.050036915f, 0.428043187f, 0.094561845f}},
                                    {"ViT-7B/16",
                                     {0.275439531f, -0.261353999f, 0.067772031f, 0.049936190f, -0.158747077f},
                                     {0.044442046f, -0.052542131f, 0.070777476f, -0.065111682f, -0.026546532f}}};

// As there: to 0 ... 1, then to 224 x 224 by antialiased bilinear resizing, then normalised.
Tensor prepared(const std::string& picture) {
  const Tensor image = affine(cast(permute(io::decode_image(picture), {2, 0, 1}), DType::kF32), 1 / 255.0);
  const Tensor small = interpolate(unsqueeze(image, 0), 224, 224, {.antialias = true});
  const Normalisation by;
  const auto values = [](const std::array<float, 3>& v) {
    return Tensor::from<float>({v[0], v[1], v[2]}, {1, 3, 1, 1});
  };
  return div(sub(small, values(by.mean)), values(by.deviation));
}

float difference(const Tensor& tokens, std::int64_t row, const Five& expected) {
  const auto values = tokens.select(0, 0).select(0, row).slice(0, 0, 5).contiguous().to_vector<float>();
  float most = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) most = std::max(most, std::abs(values[i] - expected[i]));
  return most;
}

TEST(Dinov3Published, TheFirstNumbersOfTheClassTokenAndOfAPatch) {
  const char *weights = std::getenv("USOL_DINOV3_WEIGHTS"), *picture = std::getenv("USOL_DINOV3_PICTURE");
  if (!weights || !picture) GTEST_SKIP() << "scripts/check-dinov3 WEIGHTS PICTURE";
  const NoGrad no_grad;
  const Vit vit = Vit::from_state(io::load_checkpoint(weights).tensors, weights);
  const auto* published = std::find_if(std::begin(kPublished), std::end(kPublished), [&](const Published& p) {
    return vit.name() == std::string("DINOv3 ") + p.network + " with 4 storage tokens";
  });
  ASSERT_NE(published, std::end(kPublished)) << "nothing is published for " << vit.name();
  ASSERT_EQ(vit.normalisation(), Normalisation{}) << "nothing is published for satellite pictures";
  const Tensor tokens = vit.forward(prepared(picture));
  const float of_class = difference(tokens, 0, published->class_token),
              of_patch = difference(tokens, 5, published->patch);
  std::printf("%s: differences of at most %.3g (class token) and %.3g (first patch)\n", published->network, of_class,
              of_patch);
  // They themselves compare with 1e-4. Decoders of JPEG differ by a step of 255 here and there, and the original files'
  // periods are rounded, those that are made for the hubs' files are not.
  EXPECT_LE(of_class, 1e-2);
  EXPECT_LE(of_patch, 1e-2);
}

}  // namespace
}  // namespace usol
