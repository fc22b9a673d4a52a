// models/resnet and models/fpn beside Detectron2's: features, running statistics, every parameter's gradient.
#include <gtest/gtest.h>

#include <array>
#include <map>

#include "tests/support/golden.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/models/fpn.h"
#include "usol/models/resnet.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/error.h"
#include "usol/tensor/layout.h"

namespace usol {
namespace {

using test::relative_error;

// pattern() of tests/golden/make_fpn.py.
Tensor pattern(const Shape& shape, std::uint64_t salt) {
  Tensor t = Tensor::empty(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    const std::uint64_t hash =
        (static_cast<std::uint64_t>(i) + 1000003 * salt) * 2654435761u % (std::uint64_t{1} << 32);
    t.mutable_data<float>()[i] = static_cast<float>(static_cast<double>(hash >> 8) * 0x1p-23 - 1);
  }
  return t;
}

// What lies under "<prefix>." in the golden file, without the prefix.
StateDict under(const std::map<std::string, Tensor>& golden, const std::string& prefix) {
  StateDict found;
  for (const auto& [name, tensor] : golden)
    if (name.starts_with(prefix + ".")) found[name.substr(prefix.size() + 1)] = tensor;
  return found;
}

// One training pass, its gradients, then inference with the statistics that it left.
void compare(const std::string& name, ParamStore& store, const Backbone& backbone) {
  const auto golden = test::load_golden("resnet_fpn.safetensors");
  store.load(under(golden, name + ".w")).require_ok("golden weights");
  const auto size = golden.at(name + ".size").to_vector<std::int64_t>();
  const Tensor images = pattern({2, 3, size[0], size[1]}, 0);
  {
    const std::vector<Tensor> maps = backbone.forward(images, {.training = true});
    ASSERT_EQ(maps.size(), backbone.outputs().size());
    Tensor loss = Tensor::zeros({});
    for (std::size_t i = 0; i < maps.size(); ++i) {
      const FeatureSpec& spec = backbone.outputs()[i];
      const Tensor& expected = golden.at(name + ".train." + spec.name);
      ASSERT_EQ(to_string(maps[i].shape()), to_string(expected.shape()));
      EXPECT_EQ(spec.channels, expected.size(1));
      EXPECT_EQ((size[0] + spec.stride_px - 1) / spec.stride_px, expected.size(2));
      EXPECT_LE(relative_error(maps[i], expected), 1e-4) << spec.name;
      EXPECT_TRUE(is_channels_last(maps[i]));
      loss = add(loss, sum(mul(maps[i], pattern(maps[i].shape(), 1 + i))));
    }
    backward(loss);
  }
  StateDict expected_grads = under(golden, name + ".grad");
  for (const auto& [key, entry] : store.entries()) {
    const auto expected = expected_grads.find(key);
    ASSERT_EQ(grad(entry.tensor).defined(), expected != expected_grads.end()) << key;
    if (expected == expected_grads.end()) continue;
    EXPECT_LE(relative_error(grad(entry.tensor), expected->second), 1e-3) << key;
    expected_grads.erase(expected);
  }
  EXPECT_TRUE(expected_grads.empty()) << expected_grads.begin()->first;
  for (const auto& [key, expected] : under(golden, name + ".after"))
    EXPECT_LE(relative_error(store.entries().at(key).tensor, expected), 1e-4) << key;

  const NoGrad no_grad;
  for (int pass = 0; pass < 2; ++pass) {  // the second with folded and packed weights
    const std::vector<Tensor> maps = backbone.forward(images, {});
    for (std::size_t i = 0; i < maps.size(); ++i) {
      const std::string& map = backbone.outputs()[i].name;
      EXPECT_LE(relative_error(maps[i], golden.at(name + ".infer." + map)), 1e-4) << map;
    }
  }
}

ResNetConfig small(std::array<std::int64_t, 4> blocks, nn::NormKind norm) {
  ResNetConfig config;
  config.blocks = blocks;
  config.stem_channels = 4;
  config.res2_channels = 8;
  config.width_per_group = 2;
  config.norm = norm;
  return config;
}

TEST(ResNetFpn, BatchNormEqualsDetectron2) {
  ParamStore store;
  const Fpn fpn(Scope(store), small({2, 1, 1, 1}, nn::NormKind::kSyncBn), {6, nn::NormKind::kSyncBn});
  compare("bn", store, fpn);
}

TEST(ResNetFpn, FrozenNormsGroupsAndFrozenStagesEqualDetectron2) {
  ParamStore store;
  ResNetConfig config = small({1, 2, 1, 1}, nn::NormKind::kFrozenBn);
  config.groups = 2;
  config.stride_in_1x1 = true;
  config.freeze_at = 2;
  const Fpn fpn(Scope(store), config, {6, nn::NormKind::kNone});
  compare("frozen", store, fpn);
}

TEST(ResNet, DilatedOddSizesEqualDetectron2) {
  ParamStore store;
  ResNetConfig config = small({1, 1, 1, 2}, nn::NormKind::kBn);
  config.res5_dilation = 2;
  const ResNet resnet(Scope(store), config);
  compare("dilated", store, resnet);
}

// The detector's backbone at a quarter of its widths.
TEST(ResNetFpn, NamesAndSizesOfTheDetectorsBackbone) {
  ParamStore store;
  ResNetConfig config;
  config.stem_channels = config.width_per_group = 16;
  config.res2_channels = 64;
  const Fpn fpn(Scope(store) / "backbone", config, {.channels = 64});
  const auto shape = [&](const std::string& name) { return to_string(store.entries().at(name).tensor.shape()); };
  EXPECT_EQ(shape("backbone.bottom_up.stem.conv1.weight"), "[16, 3, 7, 7]");
  EXPECT_EQ(shape("backbone.bottom_up.stem.conv1.norm.running_var"), "[16]");
  EXPECT_EQ(shape("backbone.bottom_up.res2.0.shortcut.weight"), "[64, 16, 1, 1]");
  EXPECT_EQ(shape("backbone.bottom_up.res5.2.conv3.norm.weight"), "[512]");
  EXPECT_EQ(shape("backbone.fpn_lateral5.weight"), "[64, 512, 1, 1]");
  EXPECT_EQ(shape("backbone.fpn_output2.norm.bias"), "[64]");
  EXPECT_FALSE(store.entries().contains("backbone.fpn_output2.bias"));
  std::int64_t parameters = 0;
  for (const auto& [name, entry] : store.entries())
    if (entry.kind == ParamStore::Kind::kParameter) parameters += entry.tensor.numel();
  EXPECT_EQ(parameters, 1'690'896);  // Detectron2's count
  std::string names;
  for (const FeatureSpec& spec : fpn.outputs()) names += spec.name + " " + std::to_string(spec.stride_px) + " ";
  EXPECT_EQ(names, "p2 4 p3 8 p4 16 p5 32 p6 64 ");
  EXPECT_EQ(fpn.size_divisibility_px(), 32);
}

TEST(ResNetFpn, Errors) {
  ParamStore store;
  const Fpn fpn(Scope(store), small({1, 1, 1, 1}, nn::NormKind::kBn), {6, nn::NormKind::kBn});
  const NoGrad no_grad;
  EXPECT_THROW(fpn.forward(Tensor::zeros({1, 3, 60, 64}), {}), Error);
  EXPECT_THROW(fpn.forward(Tensor::zeros({3, 64, 64}), {}), Error);
  ResNetConfig bad;
  bad.freeze_at = 6;
  ParamStore other;
  EXPECT_THROW(ResNet(Scope(other), bad), Error);
}

}  // namespace
}  // namespace usol
