// The settings of pre-training: defaults of DINO's public code, and what presets and batches make of them.
#include "usol/pipeline/pretrain_config.h"

#include <gtest/gtest.h>

#include <string>

#include "usol/tensor/error.h"

namespace usol {
namespace {

PretrainConfig preset(const std::string& name) {
  PretrainConfig config;
  SettingsTable settings("pretrain");
  config.declare(settings);
  settings.set("preset", name);
  settings.apply_preset();
  return config;
}

// The defaults of main_dino.py for --arch vit_small, on the eight GPUs of 64 pictures of its README.
TEST(PretrainConfig, DefaultsAreThePublicCodes) {
  const PretrainConfig config;
  const train::PretrainerOptions o = config.pretrainer(1281167, config.grid());
  EXPECT_EQ(o.vit.width, 384);
  EXPECT_EQ(o.vit.heads(), 6);
  EXPECT_EQ(o.vit.depth, 12);
  EXPECT_EQ(o.vit.patch, 16);
  EXPECT_EQ(o.vit.grid, 14);
  EXPECT_EQ(o.vit.mlp_hidden, 1536);
  EXPECT_EQ(o.vit.drop_path, 0.1);
  EXPECT_FALSE(o.vit.mask_token);
  EXPECT_EQ(o.head.hidden, 2048);
  EXPECT_EQ(o.head.bottleneck, 256);
  EXPECT_EQ(o.head.out, 65536);
  EXPECT_TRUE(o.head.fixed_gain);
  EXPECT_EQ(o.steps_per_epoch, 2502);
  EXPECT_DOUBLE_EQ(o.rate.first, 0.0005 * 512 / 256);
  EXPECT_EQ(o.rate.last, 1e-6);
  EXPECT_EQ(o.rate.warmup, 10 * 2502);
  EXPECT_EQ(o.rate.iterations, 100 * 2502);
  EXPECT_EQ(o.weight_decay.first, 0.04);
  EXPECT_EQ(o.weight_decay.last, 0.4);
  EXPECT_EQ(o.momentum.first, 0.996);
  EXPECT_EQ(o.momentum.last, 1);
  EXPECT_EQ(o.teacher_temperature.value(0), 0.04);
  EXPECT_EQ(o.teacher_temperature.value(99), 0.04);
  EXPECT_EQ(o.student_temperature, 0.1);
  EXPECT_EQ(o.centre_momentum, 0.9);
  EXPECT_EQ(o.clip_norm, 3);
  EXPECT_EQ(o.frozen_epochs, 1);
  EXPECT_EQ(o.patch_weight, 0);
  EXPECT_EQ(config.loading(0).hidden_grid, 0);
}

TEST(PretrainConfig, PresetsAreWhatTheySay) {
  const PretrainConfig boosted = preset("dino-vits16-boosted");
  EXPECT_EQ(boosted.epochs, 300);
  EXPECT_EQ(boosted.batch, 1024);
  EXPECT_FALSE(boosted.head.fixed_gain);
  EXPECT_EQ(boosted.teacher_temperature.last, 0.07);
  EXPECT_EQ(boosted.teacher_temperature.warmup_epochs, 30);
  EXPECT_EQ(preset("dino-vitb16").width, 768);
  const PretrainConfig tiny = preset("tiny");
  EXPECT_EQ(tiny.pretrainer(1000, tiny.grid()).vit.name(), "ViT width 128 depth 6 patch 8");
  EXPECT_TRUE(tiny.pretrainer(1000, tiny.grid()).vit.mask_token);
  EXPECT_EQ(tiny.loading(0).hidden_grid, 12);
  const PretrainConfig small = preset("small");
  EXPECT_EQ(small.pretrainer(1000, 12).vit.name(), "ViT-Ti/8");
  EXPECT_EQ(small.head.out, 4096);
  EXPECT_EQ(small.batch, 256);
  // What it shares with tiny.
  EXPECT_EQ(small.crops.global_px, 96);
  EXPECT_EQ(small.head.hidden, 512);
  EXPECT_EQ(small.patch_loss, 1);
  EXPECT_EQ(small.momentum, 0.99);
}

TEST(PretrainConfig, NumbersThatDoNotFitAreRefused) {
  const auto refused = [](auto change) {
    PretrainConfig config = preset("tiny");
    change(config);
    EXPECT_THROW(config.pretrainer(1000, config.grid()), Error);
  };
  refused([](PretrainConfig& c) { c.width = 96; });
  refused([](PretrainConfig& c) { c.crops.global_px = 100; });
  refused([](PretrainConfig& c) { c.crops.local_px = 44; });
  refused([](PretrainConfig& c) { c.warmup_epochs = c.epochs; });
  refused([](PretrainConfig& c) { c.batch = 1001; });
  refused([](PretrainConfig& c) { c.accumulate = 3; });
  refused([](PretrainConfig& c) { c.crops.local_scale = {0.5}; });
}

}  // namespace
}  // namespace usol
