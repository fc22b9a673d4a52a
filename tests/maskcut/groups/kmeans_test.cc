// k-means beside scikit-learn's from the same first centres (tests/golden/make_groups.py), and what k-means++, samples
// and windows of rows must hold.
#include "usol/maskcut/groups/kmeans.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/op_case.h"
#include "usol/tensor/error.h"
#include "usol/tensor/generator.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

using test::relative_error;

void expect_equal(const Kmeans& found, const std::map<std::string, Tensor>& golden, const std::string& name) {
  EXPECT_EQ(found.labels, golden.at(name + ".labels").to_vector<std::int64_t>());
  EXPECT_LE(relative_error(found.centres, golden.at(name + ".centres")), 1e-6);
  EXPECT_NEAR(found.inertia / golden.at(name + ".figures").to_vector<double>()[0], 1, 1e-6);
  EXPECT_EQ(found.iterations, static_cast<int>(golden.at(name + ".figures").to_vector<double>()[1]));
  EXPECT_TRUE(found.converged);
}

TEST(Kmeans, FromGivenCentresEqualsScikitLearns) {
  const auto golden = test::load_golden("groups.safetensors");
  const Rows rows = rows_of(golden.at("rows"));
  expect_equal(kmeans_from(rows, golden.at("kmeans.first"), {.clusters = 7}), golden, "kmeans");
  // A centre that no row is near to is put on the row that is farthest from its own.
  expect_equal(kmeans_from(rows, golden.at("empty.first"), {.clusters = 5}), golden, "empty");
}

// Points on a few far apart places, with a little noise.
Tensor clumps(std::int64_t each, std::int64_t places, std::int64_t dim, std::uint64_t seed) {
  Generator generator(seed);
  Tensor rows = Tensor::empty({each * places, dim});
  float* to = rows.mutable_data<float>();
  for (std::int64_t i = 0; i < each * places; ++i)
    for (std::int64_t k = 0; k < dim; ++k)
      *to++ = static_cast<float>((k == i % places ? 10 : 0) + 0.5 * generator.normal());
  return rows;
}

TEST(Kmeans, PlusPlusFindsEveryClump) {
  for (const bool spherical : {false, true}) {
    const Kmeans found = kmeans(rows_of(clumps(40, 12, 16, 3)), {.clusters = 12, .spherical = spherical, .seed = 5});
    std::set<std::int64_t> used(found.labels.begin(), found.labels.begin() + 12);
    EXPECT_EQ(used.size(), 12u);  // twelve rows of twelve clumps
    for (std::size_t i = 12; i < found.labels.size(); ++i) ASSERT_EQ(found.labels[i], found.labels[i % 12]);
  }
}

TEST(Kmeans, SphericalSeesDirectionsAlone) {
  // Two directions; lengths say nothing.
  Tensor rows = Tensor::zeros({6, 2});
  float* r = rows.mutable_data<float>();
  for (int i = 0; i < 6; ++i) r[2 * i + i % 2] = static_cast<float>(std::pow(10.0, i - 2));
  const Kmeans found = kmeans(rows_of(rows), {.clusters = 2, .spherical = true});
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(found.labels[i], found.labels[i % 2]);
  EXPECT_NEAR(found.inertia, 0, 1e-12);
  const auto c = found.centres.to_vector<float>();
  EXPECT_NEAR(c[0] * c[0] + c[1] * c[1], 1, 1e-6);
}

TEST(Kmeans, DoesNotDependOnThreadsAndKnowsItsSeed) {
  const Tensor rows = clumps(700, 3, 40, 9);  // of more than one product
  const KmeansOptions options{.clusters = 9, .starts = 2, .iterations = 12, .seed = 4};
  const int threads = thread_count();
  set_thread_count(1);
  const Kmeans one = kmeans(rows_of(rows), options);
  set_thread_count(3);
  const Kmeans three = kmeans(rows_of(rows), options);
  set_thread_count(threads);
  EXPECT_EQ(one.labels, three.labels);
  EXPECT_EQ(one.inertia, three.inertia);
  EXPECT_EQ(one.centres.to_vector<float>(), three.centres.to_vector<float>());
  KmeansOptions other = options;
  other.seed = 5;
  EXPECT_NE(kmeans(rows_of(rows), other).centres.to_vector<float>(), one.centres.to_vector<float>());
}

TEST(Kmeans, MoreStartsAreNoWorse) {
  const auto golden = test::load_golden("groups.safetensors");
  const Rows rows = rows_of(golden.at("rows"));
  double last = std::numeric_limits<double>::infinity();
  for (const int starts : {1, 4, 16}) {
    const double inertia = kmeans(rows, {.clusters = 7, .starts = starts}).inertia;
    EXPECT_LE(inertia, last);
    last = inertia;
  }
}

TEST(Kmeans, RowsAreReadInWindowsOfEightMebibytes) {
  // 9000 rows of 1024 numbers are 36 MiB.
  const std::int64_t dim = 1024;
  std::int64_t most = 0, passes = 0;
  Rows rows{9000, dim, [&](std::int64_t first, std::int64_t count, float* to) {
              most = std::max(most, count);
              passes += first == 0;
              std::memset(to, 0, static_cast<std::size_t>(count * dim) * sizeof(float));
              for (std::int64_t i = 0; i < count; ++i) to[i * dim + (first + i) % 2] = 1;
            }};
  const Kmeans found = kmeans(rows, {.clusters = 2, .seeding_rows = 64});
  EXPECT_LE(most * dim * 4, 8 << 20);
  EXPECT_GT(passes, 1);
  for (std::size_t i = 0; i < found.labels.size(); ++i) ASSERT_EQ(found.labels[i], found.labels[i % 2]);
}

TEST(Kmeans, StartsAreComparedOnTheSample) {
  const Tensor clumped = clumps(400, 6, 16, 3);
  std::int64_t passes = 0;
  Rows rows = rows_of(clumped);
  rows.read = [read = rows.read, &passes](std::int64_t first, std::int64_t count, float* to) {
    passes += first == 0 && count > 1;
    read(first, count, to);
  };
  const auto passes_of = [&](int starts) {
    passes = 0;
    const Kmeans found =
        kmeans(rows, {.clusters = 6, .spherical = true, .starts = starts, .seeding_rows = 240, .seed = 5});
    for (std::size_t i = 6; i < found.labels.size(); ++i) EXPECT_EQ(found.labels[i], found.labels[i % 6]);
    return passes;
  };
  const std::int64_t of_one = passes_of(1);
  EXPECT_LE(of_one, 4);  // their variance, two rounds, and perhaps a third
  EXPECT_EQ(passes_of(8), of_one);
}

TEST(Kmeans, UnitRowsAreMadeOnce) {
  const Tensor rows = Tensor::from(std::vector<float>{3, 4, 0, 0, 0, 2}, {3, 2});
  const Rows unit = unit_rows(rows_of(rows));
  EXPECT_TRUE(unit.unit);
  EXPECT_FALSE(rows_of(rows).unit || whitened_rows(unit).unit);
  std::vector<float> values(6);
  unit_rows(unit).read(0, 3, values.data());
  EXPECT_EQ(values, (std::vector<float>{0.6f, 0.8f, 0, 0, 0, 1}));
}

TEST(Kmeans, NearestCentresKnowTheSecondBest) {
  const Tensor rows = Tensor::from(std::vector<float>{0, 0, 3, 0}, {2, 2});
  const Tensor centres = Tensor::from(std::vector<float>{0, 1, 2, 0, 50, 0}, {3, 2});
  const auto nearest = nearest_centres(rows_of(rows), centres);
  EXPECT_EQ(nearest[0].centre, 0);
  EXPECT_EQ(nearest[0].least, 1);
  EXPECT_EQ(nearest[0].second, 4);
  EXPECT_EQ(nearest[1].centre, 1);
  EXPECT_EQ(nearest[1].least, 1);
  EXPECT_EQ(nearest[1].second, 10);
  EXPECT_TRUE(std::isinf(nearest_centres(rows_of(rows), centres.slice(0, 0, 1).contiguous())[0].second));
}

TEST(Kmeans, SamplesAreEvenAndInOrder) {
  Tensor numbers = Tensor::empty({1000, 1});
  for (std::int64_t i = 0; i < 1000; ++i) numbers.mutable_data<float>()[i] = static_cast<float>(i);
  std::vector<std::int64_t> positions;
  std::vector<int> taken(10);
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Tensor sample = sample_rows(rows_of(numbers), 100, seed, &positions);
    ASSERT_EQ(positions.size(), 100u);
    for (std::size_t i = 0; i < positions.size(); ++i) {
      ASSERT_EQ(sample.data<float>()[i], static_cast<float>(positions[i]));
      ASSERT_TRUE(i == 0 || positions[i] > positions[i - 1]);
      ++taken[static_cast<std::size_t>(positions[i] / 100)];
    }
  }
  for (const int count : taken) EXPECT_NEAR(count, 400, 80);
  EXPECT_EQ(sample_rows(rows_of(numbers), 5000, 0).size(0), 1000);
}

TEST(Kmeans, SaysWhatIsWrong) {
  const Tensor rows = Tensor::zeros({3, 2});
  EXPECT_THROW(kmeans(rows_of(rows), {.clusters = 4}), Error);
  EXPECT_THROW(kmeans(rows_of(rows), {.clusters = 0}), Error);
  EXPECT_THROW(kmeans_from(rows_of(rows), Tensor::zeros({2, 3}), {.clusters = 2}), Error);
  EXPECT_THROW(nearest_centres(rows_of(rows), Tensor::zeros({2, 3})), Error);
  EXPECT_THROW(rows_of(Tensor::zeros({3})), Error);
  Tensor bad = rows.clone();
  bad.mutable_data<float>()[3] = std::nanf("");
  EXPECT_THROW(kmeans(rows_of(bad), {.clusters = 2}), Error);
  // Rows that are all alike: one centre has them, none is lost.
  EXPECT_EQ(kmeans(rows_of(rows), {.clusters = 2}).inertia, 0);
}

}  // namespace
}  // namespace usol::maskcut
