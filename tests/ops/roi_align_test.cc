#include "usol/ops/roi_align.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/support/golden.h"
#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/ops/cast.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/reduce.h"
#include "usol/ops/view.h"
#include "usol/tensor/error.h"
#include "usol/tensor/layout.h"

namespace usol::test {
namespace {

// Image index, corners and sizes in quarters of a pixel -> rois, exact in every dtype. Sizes of 0 are boxes without
// samples.
Tensor rois_of(const Tensor& image, const Tensor& corner, const Tensor& size, DType dtype) {
  const DType type = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  const Tensor low = affine(corner.to(type), 0.25);
  return concat({image.to(type), low, add(low, affine(size.to(type), 0.25))}, 1);
}

double bilinear(const Tensor& x, std::int64_t n, std::int64_t c, double y, double z) {
  const std::int64_t h = x.size(2), w = x.size(3);
  if (y < -1 || y > static_cast<double>(h) || z < -1 || z > static_cast<double>(w)) return 0;
  y = std::clamp(y, 0.0, static_cast<double>(h - 1));
  z = std::clamp(z, 0.0, static_cast<double>(w - 1));
  double sum = 0;  // a tent over each cell; the others are 0 there
  const auto near = [](double v, std::int64_t cells) { return std::min(static_cast<std::int64_t>(v) + 2, cells); };
  for (auto i = static_cast<std::int64_t>(y); i < near(y, h); ++i)
    for (auto j = static_cast<std::int64_t>(z); j < near(z, w); ++j)
      sum += std::max(0.0, 1 - std::abs(y - static_cast<double>(i))) *
             std::max(0.0, 1 - std::abs(z - static_cast<double>(j))) * at(x, {n, c, i, j});
  return sum;
}

// Every sample of every bin, one by one; scale 1/2, aligned.
Tensor sampled(const Tensor& x, const Tensor& rois, std::int64_t bins) {
  return build({rois.size(0), x.size(1), bins, bins}, [&](const Shape& i) {
    const auto side = [&](std::int64_t k) { return at(rois, {i[0], k}) / 2 - 0.5; };
    const double h = (side(4) - side(2)) / static_cast<double>(bins),
                 w = (side(3) - side(1)) / static_cast<double>(bins);
    const double rows = std::ceil(h), columns = std::ceil(w);
    double sum = 0;
    for (double a = 0; a < rows; ++a)
      for (double b = 0; b < columns; ++b)
        sum += bilinear(x, static_cast<std::int64_t>(at(rois, {i[0], 0})), i[1],
                        side(2) + (static_cast<double>(i[2]) + (a + 0.5) / rows) * h,
                        side(1) + (static_cast<double>(i[3]) + (b + 0.5) / columns) * w);
    return rows * columns > 0 ? sum / (rows * columns) : 0;
  });
}

// The map comes as [N, H, W, C], the order that is read without a copy.
OpCase roi_case(const char* name, std::int64_t bins, const Shape& map) {
  return {.name = name,
          .op =
              [bins](const Tensors& in) {
                return roi_align(permute(in[0], {0, 3, 1, 2}), rois_of(in[1], in[2], in[3], in[0].dtype()), 0.5,
                                 {.height = bins, .width = bins, .channels_last = bins == 3});
              },
          .reference =
              [bins](const Tensors& in) {
                return sampled(in[0].permute({0, 3, 1, 2}), rois_of(in[1], in[2], in[3], DType::kF64), bins);
              },
          .inputs = {{map}, {{9, 1}, 0, 2, DType::kI32}, {{9, 2}, -16, 80, DType::kI32}, {{9, 2}, 0, 160, DType::kI32}},
          .dtypes = {DType::kF32, DType::kF64, DType::kBF16},
          .reduction = 32};
}

OP_TEST(roi_case("roi_align_3", 3, {2, 6, 9, 3}));
OP_TEST([] {
  OpCase c = roi_case("roi_align_7", 7, {2, 3, 5, 19});
  // As a detector's first level: 1000 boxes of 28 x 28 cells and less.
  c.bench_inputs = {{{1, 200, 304, 256}},
                    {{1000, 1}, 0, 1, DType::kI32},
                    {{1000, 2}, 0, 2000, DType::kI32},
                    {{1000, 2}, 16, 224, DType::kI32}};
  return c;
}());

// On a GPU a block's threads look through the boxes together, 32 at a time for 3 channels, 64 for 40.
OpCase many_boxes_case(const char* name, std::int64_t boxes, const Shape& map) {
  OpCase c = roi_case(name, 2, map);
  for (std::size_t i = 1; i < c.inputs.size(); ++i) c.inputs[i].shape[0] = boxes;
  c.inputs[1].high = static_cast<double>(map[0]);
  return c;
}
OP_TEST(many_boxes_case("roi_align_many_boxes", 70, {1, 3, 4, 3}));
OP_TEST(many_boxes_case("roi_align_many_boxes_and_channels", 70, {1, 2, 3, 40}));

TEST(RoiAlign, EqualsTorchvision) {
  const auto golden = load_golden("detection_ops.safetensors");
  const struct {
    const char* name;
    RoiAlignOptions options;
  } cases[] = {{"7", {}},
               {"14", {.height = 14, .width = 14}},
               {"2_old", {.height = 2, .width = 2, .sampling_ratio = 2, .aligned = false}},
               {"3_fixed", {.height = 3, .width = 3, .sampling_ratio = 2}}};
  for (const auto& [name, options] : cases) {
    Tensor x = golden.at("roi_x").clone();
    set_requires_grad(x);
    const Tensor y = roi_align(x, golden.at("rois"), 0.25, options);
    EXPECT_LE(relative_error(y.detach(), golden.at(std::string("roi_") + name)), 2e-6) << name;
    RoiAlignOptions other = options;
    other.channels_last = true;
    const Tensor z =
        roi_align(x.detach().permute({0, 2, 3, 1}).contiguous().permute({0, 3, 1, 2}), golden.at("rois"), 0.25, other);
    EXPECT_EQ(relative_error(z, y.detach()), 0) << name;
    EXPECT_TRUE(z.permute({0, 2, 3, 1}).is_contiguous());
    backward(y, golden.at(std::string("roi_grad_") + name));
    EXPECT_LE(relative_error(grad(x), golden.at(std::string("roi_x_grad_") + name)), 2e-6) << name;
  }
}

// Bins in both orders of memory, and of bf16 maps as of the same numbers in f32, rounded at the end.
TEST(RoiAlign, OrdersAndDtypesAgree) {
  const Tensor rois = load_golden("detection_ops.safetensors").at("rois");
  const Tensor map = make_inputs({{{2, 18, 24, 37}, -1, 1}}, DType::kF32, Device{})[0].to(DType::kBF16);
  const Tensor x = map.permute({0, 3, 1, 2}), wide = x.to(DType::kF32);
  for (const std::int64_t size : {2, 7}) {
    RoiAlignOptions by_bin{.height = size, .width = size, .channels_last = true}, by_channel = by_bin;
    by_channel.channels_last = false;
    const Tensor expected = roi_align(wide, rois, 0.25, by_bin);
    EXPECT_EQ(relative_error(roi_align(wide, rois, 0.25, by_channel), expected), 0) << size;
    for (const RoiAlignOptions& options : {by_bin, by_channel})
      EXPECT_EQ(relative_error(roi_align(x, rois, 0.25, options), expected.to(DType::kBF16)), 0) << size;
  }
}

TEST(RoiAlign, APyramidIsEachLevelAlone) {
  const auto golden = load_golden("detection_ops.safetensors");
  const Tensor rois = golden.at("rois");
  std::vector<Tensor> levels{golden.at("roi_x").clone(), golden.at("roi_x").slice(2, 0, 9).slice(3, 0, 13).clone()};
  std::vector<std::int64_t> level;
  for (std::int64_t r = 0; r < rois.size(0); ++r) level.push_back(r % 2);
  for (Tensor& l : levels) set_requires_grad(l);
  const Tensor both = roi_align(levels, {0.25, 0.125}, rois, Tensor::from(level, {rois.size(0)}));
  const Tensor first = roi_align(levels[0], rois, 0.25), second = roi_align(levels[1], rois, 0.125);
  for (std::int64_t r = 0; r < rois.size(0); ++r) {
    const Tensor& expected = r % 2 == 0 ? first : second;
    EXPECT_EQ(relative_error(both.detach().select(0, r), expected.detach().select(0, r)), 0) << r;
  }
  backward(sum(both));
  const Tensor from_both = grad(levels[1]).clone();
  set_grad(levels[1], {});
  Tensor odd = Tensor::zeros(second.shape());
  for (std::int64_t r = 1; r < rois.size(0); r += 2) odd.select(0, r).fill(1);
  backward(second, odd);
  EXPECT_EQ(relative_error(from_both, grad(levels[1])), 0);
}

TEST(RoiAlign, NoBoxesAndBoxesThatAreNone) {
  Tensor x = Tensor::full({1, 2, 5, 6}, 1);
  set_requires_grad(x);
  const Tensor none = roi_align(x, Tensor::zeros({0, 5}), 1);
  EXPECT_EQ(none.shape(), (Shape{0, 2, 7, 7}));
  backward(sum(none));
  EXPECT_EQ(sum(grad(x)).item(), 0);
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const Tensor rois = Tensor::from<float>({0, nan, 0, 4, 4, 0, 0, 0, inf, 4, 0, 1e30f, 0, 1e30f, 4}, {3, 5});
  const auto values = roi_align(x, rois, 1, {.height = 1, .width = 1}).to_vector<float>();
  EXPECT_TRUE(std::isnan(values[0]) && std::isnan(values[1]) && std::isnan(values[2]));
  EXPECT_EQ(values[4], 0);  // far outside
}

TEST(RoiAlign, Errors) {
  const Tensor x = Tensor::zeros({1, 2, 5, 6}), rois = Tensor::from<float>({1, 0, 0, 3, 3}, {1, 5});
  EXPECT_THROW(roi_align(x, rois, 1), Error);                   // image 1 of 1
  EXPECT_THROW(roi_align(x, Tensor::zeros({1, 4}), 1), Error);  // no image index
  EXPECT_THROW(roi_align(x, rois.to(DType::kF64), 1), Error);   // two dtypes
  EXPECT_THROW(roi_align(x.select(0, 0), rois, 1), Error);      // rank
  EXPECT_THROW(roi_align(x, Tensor::zeros({1, 5}), 1, {.height = 0}), Error);
  EXPECT_THROW(roi_align({x}, {1}, Tensor::zeros({1, 5}), Tensor::full({1}, 1, DType::kI64)), Error);  // level 1 of 1
}

// In bf16 as in f32: the next gradients need no copy in another order.
TEST(RoiAlign, GradientsOfMapsLieChannelsLast) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    Tensor leaf = Tensor::full({1, 3, 6, 7}, 1, dtype), seen;
    set_requires_grad(leaf);
    const Tensor map = record("probe", {leaf}, leaf.detach(), [&](const Tensor& grad, const Needs&) {
      seen = grad;
      return std::vector<Tensor>{grad};
    });
    const Tensor y = roi_align(map, Tensor::from<float>({0, 1, 1, 5, 5}, {1, 5}), 1.0, {.height = 2, .width = 2});
    backward(y, Tensor::full(y.shape(), 1, dtype));
    EXPECT_TRUE(is_channels_last(seen)) << static_cast<int>(dtype);
    EXPECT_NEAR(sum(seen.to(DType::kF64)).item(), 12, 0.1);
  }
}

}  // namespace
}  // namespace usol::test
