#include "usol/nn/conv.h"

#include <gtest/gtest.h>

#include <optional>

#include "tests/support/devices.h"
#include "tests/support/op_case.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/conv2d.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/group_norm.h"
#include "usol/ops/layer_norm.h"
#include "usol/ops/view.h"
#include "usol/tensor/error.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/stream.h"

namespace usol {
namespace {

using test::relative_error;

Tensor random(const Shape& shape, std::uint64_t stream, double low = -1, double high = 1) {
  Generator generator(7, stream);
  Tensor t = Tensor::empty(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i)
    t.mutable_data<float>()[i] = static_cast<float>(generator.uniform(low, high));
  return t;
}

nn::ConvConfig with_norm(nn::NormKind norm, bool relu = true) {
  nn::ConvConfig config;
  config.padding = 1;
  config.norm = norm;
  config.relu = relu;
  return config;
}

void randomise(nn::BatchNorm& norm) {
  norm.weight.copy_from(random(norm.weight.shape(), 1, 0.5, 2));
  norm.bias.copy_from(random(norm.bias.shape(), 2));
  norm.running_mean.copy_from(random(norm.running_mean.shape(), 3));
  norm.running_var.copy_from(random(norm.running_var.shape(), 4, 0.5, 2));
}

Tensor apart(const nn::Conv2d& conv, const Tensor& x) {
  const nn::BatchNorm& n = *conv.norm->batch();
  return relu(batch_norm_infer(conv2d(x, conv.weight, {}, {.padding = {1, 1}}), n.weight, n.bias, n.running_mean,
                               n.running_var, n.epsilon));
}

TEST(Conv2dLayer, NamesAreDetectron2s) {
  ParamStore store;
  const nn::Conv2d plain(Scope(store) / "a", 3, 4, 3);
  const nn::Conv2d normed(Scope(store) / "b", 3, 4, 3, with_norm(nn::NormKind::kSyncBn));
  const nn::ConvTranspose2d transposed(Scope(store) / "c", 3, 4, 2, 2);
  EXPECT_EQ(store.names(),
            (std::vector<std::string>{"a.weight", "a.bias", "b.weight", "b.norm.weight", "b.norm.bias",
                                      "b.norm.running_mean", "b.norm.running_var", "c.weight", "c.bias"}));
  EXPECT_EQ(transposed(Tensor::zeros({2, 3, 5, 5})).shape(), (Shape{2, 4, 10, 10}));
}

TEST(Conv2dLayer, AFixedNormIsFoldedAndFollowsItsParameters) {
  ParamStore store;
  nn::Conv2d conv(Scope(store), 8, 16, 3, with_norm(nn::NormKind::kBn));
  randomise(*conv.norm->batch());
  const NoGrad no_grad;
  const Tensor x = random({2, 8, 6, 5}, 5);
  EXPECT_LE(relative_error(conv(x, {}), apart(conv, x)), 2e-6);
  for (Tensor* t : {&conv.weight, &conv.norm->batch()->weight, &conv.norm->batch()->bias,
                    &conv.norm->batch()->running_mean, &conv.norm->batch()->running_var}) {
    t->copy_from(random(t->shape(), 6, 0.5, 2));
    EXPECT_LE(relative_error(conv(x, {}), apart(conv, x)), 2e-6);
  }
}

TEST(Conv2dLayer, GradientsGoThroughTheFold) {
  ParamStore store;
  nn::Conv2d conv(Scope(store), 4, 4, 3, with_norm(nn::NormKind::kBn));
  randomise(*conv.norm->batch());
  const Tensor seed = random({1, 4, 5, 5}, 8);
  Tensor x = random({1, 4, 5, 5}, 5);
  set_requires_grad(x);
  const std::vector<Tensor> leaves{x, conv.weight, conv.norm->batch()->weight, conv.norm->batch()->bias};
  backward(conv(x, {}), seed);
  std::vector<Tensor> folded;
  for (const Tensor& leaf : leaves) {
    folded.push_back(grad(leaf));
    set_grad(leaf, {});
  }
  backward(apart(conv, x), seed);
  for (std::size_t i = 0; i < leaves.size(); ++i) EXPECT_LE(relative_error(folded[i], grad(leaves[i])), 1e-5) << i;
}

TEST(Conv2dLayer, AddsToAResidual) {
  ParamStore store;
  for (const nn::NormKind norm : {nn::NormKind::kNone, nn::NormKind::kBn, nn::NormKind::kFrozenBn}) {
    const std::string name = std::to_string(static_cast<int>(norm));
    const nn::Conv2d with(Scope(store) / name, 4, 4, 3, with_norm(norm));
    const nn::Conv2d without(Scope(store) / (name + "b"), 4, 4, 3, with_norm(norm, false));
    Tensor(without.weight).copy_from(with.weight);
    const Tensor x = random({2, 4, 5, 6}, 9), y = to_channels_last(random({2, 4, 5, 6}, 10));
    for (const bool training : {false, true}) {
      const Context context{.training = training};
      const Tensor expected = add_relu(y, without(x, context)).detach();
      EXPECT_LE(relative_error(with.add_to(clone_like(y), x, context), expected), 2e-6);  // recorded
      const NoGrad no_grad;
      EXPECT_LE(relative_error(with.add_to(clone_like(y), x, context), expected), 2e-6);
    }
  }
}

TEST(Conv2dLayer, FreezeStopsGradientsAndStatistics) {
  ParamStore store;
  nn::Conv2d conv(Scope(store), 4, 4, 3, with_norm(nn::NormKind::kBn));
  conv.freeze();
  Tensor x = random({2, 4, 5, 6}, 9);
  set_requires_grad(x);
  const Tensor y = conv(x, {.training = true});
  backward(y, Tensor::full(y.shape(), 1));
  EXPECT_TRUE(grad(x).defined());
  EXPECT_FALSE(grad(conv.weight).defined());
  EXPECT_FALSE(grad(conv.norm->batch()->weight).defined());
  EXPECT_EQ(conv.norm->batch()->running_mean.to_vector<float>(), std::vector<float>(4, 0.0f));
}

// "GN" and "LN" follow the convolution, whatever the mode: from the ops that they are made of.
TEST(Conv2dLayer, GroupAndLayerNorm) {
  for (const nn::NormKind kind : {nn::NormKind::kGn, nn::NormKind::kLn}) {
    ParamStore store;
    const nn::Conv2d conv(Scope(store), 4, 64, 3, with_norm(kind));
    EXPECT_EQ(store.names(), (std::vector<std::string>{"weight", "norm.weight", "norm.bias"}));
    EXPECT_EQ(conv.norm->batch(), nullptr);
    const Tensor weight = conv.norm->weight(), bias = conv.norm->bias();
    Tensor(weight).copy_from(random({64}, 5, 0.5, 2));
    Tensor(bias).copy_from(random({64}, 6));
    const Tensor x = random({2, 4, 5, 6}, 7), plain = conv2d(x, conv.weight, {}, {.stride = {1, 1}, .padding = {1, 1}});
    const Tensor normal = kind == nn::NormKind::kGn
                              ? group_norm(plain, weight, bias, 32)
                              : permute(layer_norm(permute(plain, {0, 2, 3, 1}), weight, bias, 1e-6), {0, 3, 1, 2});
    const Tensor expected = relu(normal);
    for (const bool training : {true, false}) {
      const Context context{.training = training};
      const Tensor y = conv(x, context);
      EXPECT_LE(relative_error(y, expected), 1e-6);
      EXPECT_TRUE(is_channels_last(y));
      const Tensor sum = relu(add(plain, normal));
      EXPECT_LE(relative_error(conv.add_to(clone_like(plain.detach()), x, context), sum), 1e-6);
      const NoGrad no_grad;
      EXPECT_LE(relative_error(conv.add_to(clone_like(plain.detach()), x, context), sum), 1e-6);
    }
    const Tensor narrow = conv(x.to(DType::kBF16), {});
    EXPECT_EQ(narrow.dtype(), DType::kBF16);
    EXPECT_LE(relative_error(narrow, expected), 3e-2);
  }
}

TEST(Conv2dLayer, FreezeStopsTheGradientsOfAnyNorm) {
  ParamStore store;
  nn::Conv2d conv(Scope(store), 4, 32, 1, with_norm(nn::NormKind::kGn));
  EXPECT_TRUE(requires_grad(conv.norm->weight()));
  conv.freeze();
  EXPECT_FALSE(requires_grad(conv.norm->weight()));
  EXPECT_FALSE(requires_grad(conv.norm->bias()));
  EXPECT_THROW(nn::Norm(Scope(store) / "odd", 48, nn::NormKind::kGn), Error);
  EXPECT_THROW(nn::Norm(Scope(store) / "none", 32, nn::NormKind::kNone), Error);
}

// The threads of a pipeline have streams of their own: each finds what the first has folded.
class CudaConv2dLayer : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
    on_host_.emplace(Scope(host_store_), 8, 16, 3, with_norm(nn::NormKind::kBn));
    randomise(*on_host_->norm->batch());
    conv_.emplace(Scope(store_), 8, 16, 3, with_norm(nn::NormKind::kBn));
    randomise(*conv_->norm->batch());
    conv_->weight.copy_from(on_host_->weight);
    on_device_ = x_.to(device_);
    Stream::current(device_).synchronize();
  }
  Tensor convolve(const Stream& stream) {
    const StreamScope scope(stream);
    return (*conv_)(on_device_, {});
  }
  Tensor expected() const { return apart(*on_host_, x_); }

  const Device device_ = Device::cuda();
  const NoGrad no_grad_;
  const Tensor x_ = random({2, 8, 6, 5}, 5);
  ParamStore host_store_, store_{0, Device::cuda()};
  std::optional<nn::Conv2d> on_host_, conv_;
  Tensor on_device_;
};

TEST_F(CudaConv2dLayer, AFoldIsReadyForOtherStreams) {
  const Stream first = Stream::create(device_), second = Stream::create(device_);
  convolve(first);
  const Tensor y = convolve(second);
  const StreamScope scope(second);
  EXPECT_LE(relative_error(y.to(Device::cpu()), expected()), 1e-5);
}

TEST_F(CudaConv2dLayer, AnOldFoldIsKeptForStreamsThatUseIt) {
  const Stream first = Stream::create(device_), second = Stream::create(device_);
  const Tensor before = expected();
  convolve(first);
  const Tensor y = convolve(second);
  for (nn::Conv2d* conv : {&*on_host_, &*conv_}) {
    const StreamScope scope(first);
    conv->norm->batch()->bias.copy_from(random({16}, 9));
  }
  const Tensor z = convolve(first);
  {
    const StreamScope scope(first);
    EXPECT_LE(relative_error(z.to(Device::cpu()), expected()), 1e-5);
  }
  const StreamScope scope(second);
  EXPECT_LE(relative_error(y.to(Device::cpu()), before), 1e-5);
}

TEST(BatchNormLayer, KindsAndInitialValues) {
  EXPECT_EQ(nn::parse_norm_kind(""), nn::NormKind::kNone);
  EXPECT_EQ(nn::parse_norm_kind("SyncBN"), nn::NormKind::kSyncBn);
  EXPECT_EQ(nn::parse_norm_kind("GN"), nn::NormKind::kGn);
  EXPECT_EQ(nn::parse_norm_kind("LN"), nn::NormKind::kLn);
  EXPECT_THROW(nn::parse_norm_kind("IN"), Error);
  ParamStore store(0, {}, DType::kBF16);
  EXPECT_THROW(nn::BatchNorm(Scope(store), 3, nn::NormKind::kNone), Error);
  const nn::BatchNorm frozen(Scope(store) / "f", 3, nn::NormKind::kFrozenBn);
  EXPECT_FALSE(requires_grad(frozen.weight));
  EXPECT_EQ(frozen.running_var.dtype(), DType::kF32);  // in a bf16 store
  const Tensor x = random({1, 3, 2, 2}, 1);
  EXPECT_LE(relative_error(frozen(x, {.training = true}), x), 1e-6);
  const nn::BatchNorm batch(Scope(store) / "b", 3, nn::NormKind::kBn);
  EXPECT_TRUE(requires_grad(batch.weight));
  EXPECT_EQ(batch.weight.dtype(), DType::kF32);
  EXPECT_EQ(batch.epsilon, 1e-5);  // PyTorch's
  EXPECT_EQ(batch.momentum, 0.1);
}

TEST(BatchNormLayer, PyTorchsCounterIsNoSurprise) {
  ParamStore store;
  const nn::BatchNorm norm(Scope(store) / "norm", 3, nn::NormKind::kBn);
  StateDict state = store.state_dict();
  state["norm.num_batches_tracked"] = Tensor::zeros({}, DType::kI64);
  EXPECT_TRUE(store.load(state).ok());
  state["other.num_batches_tracked"] = Tensor::zeros({}, DType::kI64);
  EXPECT_EQ(store.load(state).unexpected, std::vector<std::string>{"other.num_batches_tracked"});
}

}  // namespace
}  // namespace usol
