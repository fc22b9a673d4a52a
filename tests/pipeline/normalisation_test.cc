// Which mean and deviation of colours go with which weights.
#include "usol/pipeline/normalisation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "usol/models/vit.h"
#include "usol/tensor/error.h"

namespace usol {
namespace {

using testing::HasSubstr;

Vit network(const Normalisation& normalisation = {}) {
  ParamStore store;
  return Vit(Scope(store), {.width = 16,
                            .depth = 1,
                            .head_width = 16,
                            .patch = 4,
                            .mlp_hidden = 16,
                            .rotary = true,
                            .normalisation = normalisation});
}

TEST(Normalisation, WhatIsAskedForCounts) {
  const std::string satellite = "dinov3_vit7b16_pretrain_sat493m-a6675841.pth";
  EXPECT_EQ(choose_normalisation("imagenet", network(kSatelliteNormalisation), satellite, {}).values, Normalisation{});
  EXPECT_EQ(choose_normalisation("satellite", network(), "w.pth", {}).values, kSatelliteNormalisation);
  EXPECT_THROW(choose_normalisation("mars", network(), "w.pth", {}), Error);
}

TEST(Normalisation, TheNetworkOrTheNameSaySatellite) {
  EXPECT_EQ(choose_normalisation("auto", network(), "w.pth", {}).values, Normalisation{});
  const auto known = choose_normalisation("auto", network(kSatelliteNormalisation), "w.pth", {});
  EXPECT_EQ(known.values, kSatelliteNormalisation);
  EXPECT_THAT(known.reason, HasSubstr("the network is known to need"));
  for (const char* name : {"x/dinov3_vit7b16_pretrain_sat493m-a6675841.pth", "dinov3-vitl16-pretrain-SAT493M/",
                           "vit_7b_patch16_dinov3.sat493m/model.safetensors"}) {
    const auto chosen = choose_normalisation("auto", network(), name, {});
    EXPECT_EQ(chosen.values, kSatelliteNormalisation) << name;
    EXPECT_THAT(chosen.reason, HasSubstr("its name says sat493m"));
  }
  EXPECT_EQ(choose_normalisation("auto", network(), "sat493m/more/w.pth", {}).values, Normalisation{});
}

TEST(Normalisation, AHubsConfigurationCountsMore) {
  std::map<std::string, std::string> config{{"config.image_mean", "[0.5,0.25,0]"}, {"config.image_std", "[1,2,0.5]"}};
  const Normalisation half{{0.5f, 0.25f, 0}, {1, 2, 0.5f}};
  for (const Normalisation& by : {Normalisation{}, kSatelliteNormalisation})
    EXPECT_EQ(choose_normalisation("auto", network(by), "sat493m.pth", config).values, half);
  EXPECT_EQ(choose_normalisation("imagenet", network(), "w.pth", config).values, Normalisation{});
  for (const char* wrong : {"[1,2]", "[1,2,0]", "[1,2,\"x\"]", "{", "3"}) {
    config["config.image_std"] = wrong;
    EXPECT_EQ(choose_normalisation("auto", network(), "w.pth", config).values, Normalisation{}) << wrong;
  }
}

// DINOv3's README: mean and deviation of SAT-493M.
TEST(Normalisation, TheSatellitesNumbers) {
  EXPECT_EQ(kSatelliteNormalisation.mean, (std::array<float, 3>{0.430f, 0.411f, 0.296f}));
  EXPECT_EQ(kSatelliteNormalisation.deviation, (std::array<float, 3>{0.213f, 0.156f, 0.143f}));
}

}  // namespace
}  // namespace usol
