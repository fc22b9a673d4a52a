// Networks of their real sizes on the emulated device, with nothing computed: every graph and product that they ask
// NVIDIA's libraries for is described, its memory's bounds, overlaps and alignments are checked, and counted.

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>

#include "tests/emulation/libraries/libraries.h"
#include "tests/emulation/schedule.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/models/fpn.h"
#include "usol/models/rcnn/box_head.h"
#include "usol/models/rcnn/mask_head.h"
#include "usol/models/rcnn/rpn.h"
#include "usol/models/vit.h"
#include "usol/models/vitdet.h"
#include "usol/ops/cast.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/error.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/precision.h"

namespace usol::test {
namespace {

const std::vector<DType> kDtypes{DType::kF32, DType::kF16, DType::kBF16};

struct Asked {
  int graphs = 0, products = 0;
};

// While alive nothing is computed, and cuDNN takes all graphs.
class OnlyChecked {
 public:
  OnlyChecked() {
    emulation::set_cudnn(emulation::Cudnn::kAll);
    emulation::set_arithmetic(false);
  }
  ~OnlyChecked() {
    emulation::set_arithmetic(true);
    emulation::set_cudnn(before_);
  }
  OnlyChecked(const OnlyChecked&) = delete;
  OnlyChecked& operator=(const OnlyChecked&) = delete;

 private:
  emulation::Cudnn before_ = emulation::cudnn();
};

// What `body` asks of the libraries, in a thread that has no plans yet.
Asked asked_by(const std::function<void()>& body) {
  const int graphs = emulation::cudnn_runs(), products = emulation::blas_runs();
  std::thread([&] {
    try {
      body();
    } catch (const Error& e) {
      ADD_FAILURE() << e.what();
    }
  }).join();
  return {emulation::cudnn_runs() - graphs, emulation::blas_runs() - products};
}

Tensor map(const Shape& shape, DType dtype = DType::kF32) {
  return to_channels_last(Tensor::empty(shape, dtype, Device::cuda()));
}

// All gradients of the sum of these results.
void backward_of(const std::vector<Tensor>& results) {
  Tensor total;
  for (const Tensor& r : results) {
    const Tensor one = sum(cast(r, DType::kF32));
    total = total.defined() ? add(total, one) : one;
  }
  backward(total);
}

struct VitCase {
  VitConfig config;
  std::vector<Shape> images;
};

// One block of each: all blocks of a ViT ask for the same.
std::vector<VitCase> vits() {
  const auto dino = [](std::int64_t width, std::int64_t patch) {
    return VitConfig{.width = width, .depth = 1, .patch = patch, .grid = 224 / patch, .mlp_hidden = 4 * width};
  };
  const auto dinov2 = [](std::int64_t width, bool swiglu, std::int64_t registers) {
    return VitConfig{.width = width,
                     .depth = 1,
                     .patch = 14,
                     .grid = 37,
                     .mlp_hidden = swiglu ? 4096 : 4 * width,
                     .registers = registers,
                     .layer_scale = true,
                     .mlp = swiglu ? nn::MlpKind::kSwiGlu : nn::MlpKind::kGelu,
                     .mask_token = true,
                     .resize_by_scale = registers == 0};
  };
  const VitConfig dinov3{.width = 1280,
                         .depth = 1,
                         .patch = 16,
                         .mlp_hidden = 5120,
                         .registers = 4,
                         .layer_scale = true,
                         .mlp = nn::MlpKind::kSwiGluSplit,
                         .rotary = true,
                         .qkv_bias = {true, true},
                         .epsilon = 1e-5};
  const Shape square{2, 3, 518, 518}, wide{1, 3, 476, 644}, two_tokens{1, 3, 14, 14};
  return {{dino(384, 16), {{1, 3, 480, 480}, {3, 3, 224, 224}}},
          {dino(384, 8), {{2, 3, 480, 480}, {1, 3, 480, 712}}},
          {dino(768, 16), {{16, 3, 480, 480}}},
          {dino(768, 8), {{4, 3, 480, 480}}},
          {dinov2(384, false, 0), {square, wide}},
          {dinov2(768, false, 4), {square, two_tokens}},
          {dinov2(1024, false, 0), {square}},
          {dinov2(1536, true, 4), {square, wide}},
          {dinov3, {{2, 3, 480, 480}, {1, 3, 480, 704}}}};
}

TEST(CudaNetworks, VisionTransformers) {
  const OnlyChecked nothing_computed;
  for (const VitCase& c : vits())
    for (const DType dtype : kDtypes) {
      ParamStore store(0, Device::cuda(), dtype);
      const Vit vit(Scope(store), c.config);
      for (const Shape& shape : c.images) {
        SCOPED_TRACE(c.config.name() + " " + to_string(dtype) + " " + to_string(shape));
        const Tensor images = map(shape, dtype);
        const Asked features = asked_by([&] {
          const NoGrad no_grad;
          vit.features(images, FeatureKind::kKqv);
          vit.features_and_attention(images, FeatureKind::kK);
          vit.forward(images);
        });
        EXPECT_GE(features.products, 8);
        // The patches are a product of rows; cuDNN has attention, of f16 and bf16.
        const std::int64_t tokens = 1 + c.config.registers + (shape[2] / c.config.patch) * (shape[3] / c.config.patch);
        EXPECT_EQ(features.graphs, dtype == DType::kF32 || tokens < 64 ? 0 : 1);
        const Asked training = asked_by([&] { backward_of({vit.forward(images)}); });
        EXPECT_GE(training.products, 10);
      }
    }
}

TEST(CudaNetworks, ResNetsWithPyramids) {
  const OnlyChecked nothing_computed;
  ParamStore store(0, Device::cuda());
  const Fpn fpn(Scope(store), ResNetConfig{});
  // What one picture and two, of common and odd padded sizes, ask for; with f32 once under TF32.
  for (const Shape& shape : {Shape{1, 3, 800, 1216}, Shape{2, 3, 224, 352}, Shape{1, 3, 64, 32}, Shape{3, 3, 96, 160}})
    for (const DType dtype : kDtypes)
      for (const bool tf32 : {false, true}) {
        SCOPED_TRACE(to_string(shape) + " " + to_string(dtype));
        constexpr int kConvolutions = 53 + 8;
        const Asked forward = asked_by([&] {
          const Tf32Mode mode(tf32);
          const NoGrad no_grad;
          fpn.forward(map(shape), {.dtype = dtype});
        });
        EXPECT_EQ(forward.graphs, kConvolutions);
        EXPECT_EQ(forward.products, 0);
        if (tf32) continue;
        const Asked training =
            asked_by([&] { backward_of(fpn.forward(map(shape), {.training = true, .dtype = dtype})); });
        EXPECT_EQ(training.graphs, 3 * kConvolutions - 1);  // the picture wants no gradient
        EXPECT_EQ(training.products, 0);
      }
}

TEST(CudaNetworks, HeadsOfADetector) {
  const OnlyChecked nothing_computed;
  ParamStore store(0, Device::cuda());
  const Scope scope(store);
  const rcnn::Rpn rpn(scope / "rpn", {});
  const rcnn::BoxHead box(scope / "box", scope / "predictor", {}, rcnn::BoxCoder{});
  const rcnn::BoxHead box_of_vitdet(scope / "box2", scope / "predictor2",
                                    {.convolutions = 4, .norm = nn::NormKind::kLn, .fully_connected = 1, .classes = 80},
                                    rcnn::BoxCoder{});
  const rcnn::MaskHead mask(scope / "mask", {});
  for (const DType dtype : kDtypes)
    for (const std::int64_t regions : {1, 7, 256}) {
      SCOPED_TRACE(to_string(dtype) + " " + std::to_string(regions));
      for (const bool training : {false, true}) {
        const Asked asked = asked_by([&] {
          const Context context{.training = training, .dtype = dtype};
          std::vector<Tensor> results;
          for (const std::int64_t side : {200, 100, 50, 25, 13}) {
            const auto output = rpn.predict({map({2, 256, side, side + 3}, dtype)}, context);
            results.insert(results.end(), {output.logits[0], output.deltas[0]});
          }
          for (const rcnn::BoxHead* head : {&box, &box_of_vitdet}) {
            const auto predictions = (*head)(map({regions, 256, 7, 7}, dtype), context);
            results.insert(results.end(), {predictions.logits, predictions.deltas});
          }
          results.push_back(mask(map({regions, 256, 14, 14}, dtype), context));
          if (training) backward_of(results);
        });
        EXPECT_GE(asked.graphs, 15 + 4 + 5);
        EXPECT_GE(asked.products, 7);
      }
    }
}

TEST(CudaNetworks, ViTDet) {
  const OnlyChecked nothing_computed;
  VitDetConfig config;
  config.depth = 2;
  config.global_blocks = {1};
  config.drop_path = 0;
  ParamStore store(0, Device::cuda());
  const VitDet vitdet(Scope(store), config);
  for (const DType dtype : kDtypes) {
    SCOPED_TRACE(to_string(dtype));
    const Asked asked = asked_by([&] {
      backward_of(vitdet.forward(map({1, 3, 1024, 1024}), {.training = true, .dtype = dtype}));
    });
    EXPECT_GT(asked.graphs, 20);
    EXPECT_GT(asked.products, 20);
  }
}

}  // namespace
}  // namespace usol::test
