// Which tau is taken for which features, and that docs/features.md says the same.
#include "usol/maskcut/usual_tau.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/golden.h"
#include "tests/support/process.h"
#include "usol/maskcut/cut.h"
#include "usol/models/resnet_patches.h"
#include "usol/models/vit.h"

namespace usol::maskcut {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

TEST(UsualTau, IsPublishedForTheLastLayersOfDinoAndDinov2) {
  ParamStore store, second, third;
  const Vit dino(Scope(store), {.width = 64, .depth = 2, .mlp_hidden = 64});
  const Vit dinov2(Scope(second), {.width = 64, .depth = 2, .mlp_hidden = 64, .layer_scale = true});
  const auto of = [](const PatchBackbone& network, const FeatureParts& parts) {
    return usual_tau(network, network.resolved(parts));
  };
  EXPECT_EQ(of(dino, {{FeatureKind::kK, -1}}).tau, 0.15);
  EXPECT_THAT(of(dino, {{FeatureKind::kK, -1}}).source, HasSubstr("CutLER"));
  EXPECT_EQ(of(dinov2, {{FeatureKind::kOut, 1}}).tau, 0.15);
  EXPECT_THAT(of(dinov2, {{FeatureKind::kOut, 1}}).source, HasSubstr("CuVLER"));
  for (const FeatureParts& parts : {FeatureParts{{FeatureKind::kOut, -1}}, FeatureParts{{FeatureKind::kK, 0}},
                                    FeatureParts{{FeatureKind::kK, -1}, {FeatureKind::kQ, -1}}}) {
    EXPECT_EQ(of(dino, parts).tau, MaskCutOptions{}.tau);
    EXPECT_THAT(of(dino, parts).source, IsEmpty());
  }
  EXPECT_THAT(of(dinov2, {{FeatureKind::kK, -1}}).source, IsEmpty());
  const ResNetPatches resnet(Scope(third),
                             {.blocks = {1, 1, 1, 1}, .stem_channels = 8, .res2_channels = 8, .width_per_group = 2});
  EXPECT_THAT(of(resnet, {{FeatureKind::kOut, -1}}).source, IsEmpty());
}

TEST(UsualTau, ThePageHasTheSameTable) {
  const std::string page = test::read_text(test::source_path("docs/features.md"));
  for (const PublishedTau& row : published_taus())
    EXPECT_THAT(page,
                HasSubstr(fmt::format("| {} | {} | {} | {} |", row.family, name_of(row.kind), row.tau, row.source)));
}

}  // namespace
}  // namespace usol::maskcut
