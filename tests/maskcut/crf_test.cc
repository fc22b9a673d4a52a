// The dense CRF against pydensecrf (golden, made by tests/golden/make_crf.py) and against exact mean field.
#include "usol/maskcut/crf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "usol/tensor/error.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

double iou(const Tensor& a, const Tensor& b) {
  const auto x = a.to_vector<std::uint8_t>(), y = b.to_vector<std::uint8_t>();
  std::size_t both = 0, any = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    both += x[i] && y[i];
    any += x[i] || y[i];
  }
  return any == 0 ? 1.0 : static_cast<double>(both) / static_cast<double>(any);
}

// The readable specification: mean field with the exact kernels, every pixel against every pixel, both labels.
Tensor exact_refine(const Tensor& image, const Tensor& mask, const CrfOptions& o) {
  const std::int64_t height = image.size(0), width = image.size(1), n = height * width;
  const auto rgb = image.to_vector<std::uint8_t>();
  const auto m = mask.to_vector<std::uint8_t>();
  std::vector<std::vector<double>> kernels;
  for (const bool bilateral : {false, true}) {
    std::vector<double> k(n * n);
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        const double sigma = bilateral ? o.bilateral_sigma_px : o.position_sigma_px;
        double d2 = (std::pow(i / width - j / width, 2) + std::pow(i % width - j % width, 2)) / (sigma * sigma);
        for (int c = 0; bilateral && c < 3; ++c)
          d2 += std::pow((rgb[3 * i + c] - rgb[3 * j + c]) / o.bilateral_sigma_rgb, 2);
        k[i * n + j] = std::exp(-0.5 * d2);
      }
    std::vector<double> norm(n);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < n; ++j) norm[i] += k[i * n + j];
      norm[i] = 1 / std::sqrt(norm[i]);
    }
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        k[i * n + j] *= norm[i] * norm[j] * (bilateral ? o.bilateral_weight : o.position_weight);
    kernels.push_back(k);
  }
  std::vector<double> unary[2], q[2];
  for (int label = 0; label < 2; ++label) {
    for (std::int64_t i = 0; i < n; ++i) {
      const double own = (m[i] != 0) == (label == 1) ? 1 : 0;
      unary[label].push_back(-(own - std::log(1 + std::exp(1.0))));
    }
    for (const double u : unary[label]) q[label].push_back(std::exp(-u));
  }
  for (int step = 0; step < o.iterations; ++step) {
    std::vector<double> e[2] = {unary[0], unary[1]};
    for (int label = 0; label < 2; ++label)
      for (std::int64_t i = 0; i < n; ++i)
        for (const auto& k : kernels)
          for (std::int64_t j = 0; j < n; ++j) e[label][i] -= k[i * n + j] * q[label][j];
    for (std::int64_t i = 0; i < n; ++i) {
      const double p0 = std::exp(-e[0][i]), p1 = std::exp(-e[1][i]);
      q[0][i] = p0 / (p0 + p1);
      q[1][i] = p1 / (p0 + p1);
    }
  }
  Tensor refined = Tensor::empty(mask.shape(), DType::kU8);
  for (std::int64_t i = 0; i < n; ++i) refined.mutable_data<std::uint8_t>()[i] = q[1][i] > q[0][i];
  return refined;
}

TEST(DenseCrf, EqualsPydensecrf) {
  const auto golden = test::load_golden("crf.safetensors");
  int cases = 0;
  for (const auto& [key, image] : golden) {
    if (!key.ends_with(".image")) continue;
    const std::string name = key.substr(0, key.size() - 6);
    const Tensor masks = golden.at(name + ".masks"), expected = golden.at(name + ".refined");
    const DenseCrf crf(image);
    for (std::int64_t i = 0; i < masks.size(0); ++i) {
      EXPECT_EQ(iou(crf.refine(masks.select(0, i)), expected.select(0, i)), 1.0) << name << " mask " << i;
      ++cases;
    }
  }
  EXPECT_EQ(cases, 18);
}

TEST(DenseCrf, SeveralMasksTogetherAsEachAlone) {
  const auto golden = test::load_golden("crf.safetensors");
  const Tensor all = golden.at("chelsea.masks");
  const DenseCrf crf(golden.at("chelsea.image"));
  std::vector<Tensor> masks, alone;
  for (std::int64_t i = 0; i < 7; ++i) {
    masks.push_back(all.select(0, i % 3));
    alone.push_back(crf.refine(masks.back()));
  }
  for (std::size_t count = 1; count <= masks.size(); ++count) {
    const auto together = crf.refine_all(std::span(masks).first(count));
    ASSERT_EQ(together.size(), count);
    for (std::size_t i = 0; i < count; ++i)
      EXPECT_EQ(together[i].to_vector<std::uint8_t>(), alone[i].to_vector<std::uint8_t>()) << i << " of " << count;
  }
  EXPECT_TRUE(crf.refine_all({}).empty());
}

// The lattice only carries messages between vertices that some pixel touches, so in sparsely filled parts of the
// colour space it is weaker than the exact kernel (pydensecrf's likewise): a few pixels per picture differ.
TEST(DenseCrf, CloseToExactMeanField) {
  const auto golden = test::load_golden("crf.safetensors");
  for (const char* name : {"astronaut", "chelsea", "coffee", "rocket"}) {
    const Tensor image = golden.at(std::string(name) + ".image").slice(0, 16, 48).slice(1, 24, 56);
    const Tensor mask = golden.at(std::string(name) + ".masks").select(0, 0).slice(0, 16, 48).slice(1, 24, 56);
    const auto exact = exact_refine(image, mask, {}).to_vector<std::uint8_t>();
    const auto ours = DenseCrf(image).refine(mask).to_vector<std::uint8_t>();
    const auto differing =
        std::inner_product(exact.begin(), exact.end(), ours.begin(), 0, std::plus<>(), std::not_equal_to<>());
    EXPECT_LT(differing, 32 * 32 / 20) << name;
  }
}

TEST(DenseCrf, SameMasksForAnyNumberOfThreads) {
  const auto golden = test::load_golden("crf.safetensors");
  const Tensor image = golden.at("astronaut.image"), mask = golden.at("astronaut.masks").select(0, 0);
  set_thread_count(1);
  const auto one = DenseCrf(image).refine(mask).to_vector<std::uint8_t>();
  for (const int threads : {2, 5}) {
    set_thread_count(threads);
    EXPECT_EQ(DenseCrf(image).refine(mask).to_vector<std::uint8_t>(), one);
  }
  set_thread_count(0);
}

// What a frame multiplies values with, to the bit.
std::vector<float> smoothed(const CrfFrame& frame) {
  std::vector<float> values(frame.pixels.size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(frame.pixels[i] % 7) - 3;
  frame.position.filter(values, values, 1);
  return values;
}

TEST(CrfFrames, PicturesOfOneSizeShareTheirFrame) {
  CrfFrames frames;
  const auto first = frames.get(70, 90, {});
  EXPECT_EQ(frames.get(70, 90, {.bilateral_sigma_rgb = 9, .iterations = 2}), first) << "these change nothing in it";
  EXPECT_NE(frames.get(90, 70, {}), first);
  EXPECT_NE(frames.get(70, 90, {.position_sigma_px = 4}), first);
  EXPECT_NE(frames.get(70, 90, {.position_weight = 4}), first);
  const auto values = smoothed(*first);
  EXPECT_EQ(smoothed(CrfFrame(70, 90, 3, 7)), values);
  for (const CrfOptions& other : {CrfOptions{.position_sigma_px = 4}, CrfOptions{.position_weight = 4}}) {
    EXPECT_EQ(smoothed(*frames.get(70, 90, other)),
              smoothed(CrfFrame(70, 90, other.position_sigma_px, other.position_weight)));
    EXPECT_NE(smoothed(*frames.get(70, 90, other)), values);
  }
}

TEST(CrfFrames, TheOnesUsedLastAreKept) {
  CrfFrames frames;
  const auto first = frames.get(8, 8, {}), second = frames.get(8, 9, {});
  for (std::int64_t width = 10; width < 8 + static_cast<std::int64_t>(CrfFrames::kKept); ++width) {
    static_cast<void>(frames.get(8, width, {}));
    EXPECT_EQ(frames.get(8, 8, {}), first);
  }
  EXPECT_EQ(second.use_count(), 2) << "all are kept still";
  static_cast<void>(frames.get(8, 30, {}));
  EXPECT_EQ(second.use_count(), 1) << "the one that was not used for longest is gone";
  EXPECT_EQ(frames.get(8, 8, {}), first);
  EXPECT_EQ(smoothed(*frames.get(8, 9, {})), smoothed(*second));
}

TEST(CrfFrames, SharedByThreadsTheMasksAreTheSame) {
  const auto golden = test::load_golden("crf.safetensors");
  struct Work {
    Tensor image, mask;
    std::vector<std::uint8_t> alone;
  };
  std::vector<Work> all;
  for (const char* name : {"astronaut", "chelsea", "coffee", "rocket"}) {
    const Tensor image = golden.at(std::string(name) + ".image");
    const Tensor mask = golden.at(std::string(name) + ".masks").select(0, 0);
    all.push_back({image, mask, DenseCrf(image).refine(mask).to_vector<std::uint8_t>()});
  }
  CrfFrames frames;
  std::vector<std::thread> threads;
  std::vector<int> equal(4);
  for (std::size_t t = 0; t < equal.size(); ++t)
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < all.size(); ++i) {
        const Work& work = all[(t + i) % all.size()];
        equal[t] += DenseCrf(work.image, {}, &frames).refine(work.mask).to_vector<std::uint8_t>() == work.alone;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, std::vector<int>(4, 4));
}

TEST(DenseCrf, PlainMasksAndOptions) {
  const Tensor image = Tensor::full({24, 31, 3}, 90, DType::kU8);
  const auto ones = std::vector<std::uint8_t>(24 * 31, 1), none = std::vector<std::uint8_t>(24 * 31, 0);
  EXPECT_EQ(DenseCrf(image).refine(Tensor::from(ones, {24, 31})).to_vector<std::uint8_t>(), ones);
  EXPECT_EQ(DenseCrf(image).refine(Tensor::from(none, {24, 31})).to_vector<std::uint8_t>(), none);
  // A lone pixel in a flat picture goes, and stays without steps or without kernels. Any nonzero value is foreground.
  Tensor lone = Tensor::zeros({24, 31}, DType::kU8);
  lone.mutable_data<std::uint8_t>()[12 * 31 + 15] = 255;
  std::vector<std::uint8_t> kept = none;
  kept[12 * 31 + 15] = 1;
  EXPECT_EQ(DenseCrf(image).refine(lone).to_vector<std::uint8_t>(), none);
  EXPECT_EQ(DenseCrf(image, {.iterations = 0}).refine(lone).to_vector<std::uint8_t>(), kept);
  EXPECT_EQ(DenseCrf(image, {.position_weight = 0, .bilateral_weight = 0}).refine(lone).to_vector<std::uint8_t>(),
            kept);
  EXPECT_EQ(DenseCrf(Tensor::full({1, 1, 3}, 7, DType::kU8)).refine(Tensor::full({1, 1}, 1, DType::kU8)).item(), 1);
}

TEST(DenseCrf, RefusesBadInput) {
  const Tensor image = Tensor::zeros({8, 8, 3}, DType::kU8);
  EXPECT_THROW(DenseCrf(Tensor{}), Error);
  EXPECT_THROW(DenseCrf(Tensor::zeros({8, 8, 3})), Error);
  EXPECT_THROW(DenseCrf(Tensor::zeros({8, 8, 4}, DType::kU8)), Error);
  EXPECT_THROW(DenseCrf(Tensor::zeros({0, 8, 3}, DType::kU8)), Error);
  EXPECT_THROW(DenseCrf(image, {.position_sigma_px = 0}), Error);
  EXPECT_THROW(DenseCrf(image, {.iterations = -1}), Error);
  EXPECT_THROW(DenseCrf(image).refine(Tensor::zeros({8, 9}, DType::kU8)), Error);
  EXPECT_THROW(DenseCrf(image).refine(Tensor::zeros({8, 8})), Error);
}

TEST(CudaDenseCrf, EqualsTheCpu) {
  if (!test::cuda_available()) GTEST_SKIP() << "no CUDA device answers";
  const auto golden = test::load_golden("crf.safetensors");
  // One, two, three and five masks: every width of the filter.
  const Tensor image = golden.at("chelsea.image"), all = golden.at("chelsea.masks");
  const DenseCrf crf(image);
  for (const std::size_t count : {1u, 2u, 3u, 5u}) {
    std::vector<Tensor> masks;
    for (std::size_t i = 0; i < count; ++i) masks.push_back(all.select(0, static_cast<std::int64_t>(i % 3)));
    const std::vector<Tensor> host = crf.refine_all(masks), device = crf.refine_all(masks, Device::cuda());
    ASSERT_EQ(device.size(), count);
    for (std::size_t i = 0; i < count; ++i)
      EXPECT_EQ(device[i].to_vector<std::uint8_t>(), host[i].to_vector<std::uint8_t>()) << i << " of " << count;
  }
  const DenseCrf none(image, {.iterations = 0});
  EXPECT_EQ(none.refine_all(std::vector{all.select(0, 0)}, Device::cuda())[0].to_vector<std::uint8_t>(),
            all.select(0, 0).to_vector<std::uint8_t>());
}

}  // namespace
}  // namespace usol::maskcut
