// Principal components beside scikit-learn's (tests/golden/make_pca.py).
#include "usol/maskcut/principal_components.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"

namespace usol::maskcut {
namespace {

using test::relative_error;

TEST(PrincipalComponents, OfTwoPicturesEqualScikitLearns) {
  const auto golden = test::load_golden("pca.safetensors");
  PatchMoments moments;
  for (const char* picture : {"a", "b"}) moments.add(golden.at(picture));
  EXPECT_EQ(moments.patches(), 22);
  const PrincipalComponents found = moments.components(3);
  EXPECT_LE(relative_error(found.mean, golden.at("mean")), 1e-12);
  EXPECT_LE(relative_error(found.components, golden.at("components")), 1e-8);  // signs, too
  EXPECT_LE(relative_error(found.deviations, golden.at("deviations")), 1e-9);
  for (const std::string picture : {"a", "b"})
    EXPECT_LE(relative_error(found.scores(golden.at(picture)), golden.at("scores." + picture)), 1e-8);
  // Half precision is what files may have.
  EXPECT_LE(relative_error(found.scores(golden.at("a").to(DType::kF64)), golden.at("scores.a")), 1e-8);
}

TEST(PrincipalComponents, PatchesThatDoNotDifferHaveNoScores) {
  PatchMoments moments;
  EXPECT_THROW(moments.components(3), Error);
  moments.add(Tensor::full({2, 1, 3}, 7.25));
  const PrincipalComponents found = moments.components(3);
  EXPECT_EQ(found.components.shape(), (Shape{2, 2}));  // no more than features have numbers
  for (const double score : found.scores(Tensor::full({2, 1, 3}, 9)).to_vector<double>()) EXPECT_EQ(score, 0);
  EXPECT_THROW(moments.add(Tensor::zeros({3, 1, 3})), Error);
  EXPECT_THROW(found.scores(Tensor::zeros({3, 1, 3})), Error);
}

TEST(PrincipalComponents, ColoursAreSquaresOfTwiceTheScoresSigmoid) {
  Tensor scores = Tensor::zeros({2, 1, 2}, DType::kF64);
  auto* values = scores.mutable_data<double>();
  values[0] = 1;
  values[3] = -20;
  const Tensor image = component_colours(scores, 3);
  ASSERT_EQ(image.shape(), (Shape{3, 6, 3}));
  const auto at = [&](std::int64_t y, std::int64_t x, std::int64_t c) {
    return image.to_vector<std::uint8_t>()[static_cast<std::size_t>((y * 6 + x) * 3 + c)];
  };
  EXPECT_EQ(at(2, 2, 0), 225);  // 255 / (1 + e^-2) = 224.6
  EXPECT_EQ(at(0, 3, 0), 128);
  EXPECT_EQ(at(0, 3, 1), 0);
  EXPECT_EQ(at(2, 5, 2), 128);  // there is no third component
}

}  // namespace
}  // namespace usol::maskcut
