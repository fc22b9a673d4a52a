#include "usol/ops/gather.h"

#include <gtest/gtest.h>

#include "tests/support/naive.h"
#include "tests/support/op_case.h"
#include "usol/autograd/tape.h"
#include "usol/tensor/error.h"

namespace usol::test {
namespace {

std::int64_t index_at(const Tensor& index, const Shape& i) { return static_cast<std::int64_t>(at(index, i)); }

OP_TEST({.name = "index_select",
         .op = [](const Tensors& in) { return index_select(in[0], in[1]); },
         .reference =
             [](const Tensors& in) {
               return build({9, 6}, [&](const Shape& i) { return at(in[0], {index_at(in[1], {i[0]}), i[1]}); });
             },
         .inputs = {{{5, 6}}, {{9}, 0, 5, DType::kI64}},
         .bench_inputs = {{.shape = {100000, 256}, .read = 0.02}, {{2000}, 0, 100000, DType::kI64}}});

OP_TEST(
    {.name = "index_select_middle",
     .op = [](const Tensors& in) { return index_select(in[0], in[1], 1); },
     .reference =
         [](const Tensors& in) {
           return build({2, 7, 3}, [&](const Shape& i) { return at(in[0], {i[0], index_at(in[1], {i[1]}), i[2]}); });
         },
     .inputs = {{{2, 4, 3}}, {{7}, 0, 4, DType::kI64}}});

OP_TEST({.name = "index_add",
         .op = [](const Tensors& in) { return index_add(in[0], in[1], 5, -1); },
         .reference =
             [](const Tensors& in) {
               return build({3, 5}, [&](const Shape& i) {
                 double total = 0;
                 for (std::int64_t j = 0; j < 11; ++j)
                   if (index_at(in[1], {j}) == i[1]) total += at(in[0], {i[0], j});
                 return total;
               });
             },
         .inputs = {{{3, 11}}, {{11}, 0, 5, DType::kI64}},
         .reduction = 11,
         .bench_inputs = {{{2000, 256}}, {{2000}, 0, 5, DType::kI64}}});

OP_TEST({.name = "gather",
         .op = [](const Tensors& in) { return gather(in[0], in[1], 1); },
         .reference =
             [](const Tensors& in) {
               return build({2, 7, 3}, [&](const Shape& i) { return at(in[0], {i[0], index_at(in[1], i), i[2]}); });
             },
         .inputs = {{{2, 4, 3}}, {{2, 7, 3}, 0, 4, DType::kI64}}});

TEST(Gather, IndicesOutOfRangeAreNamed) {
  const Tensor a = Tensor::zeros({3, 2});
  try {
    index_select(a, Tensor::from<std::int64_t>({0, 3}, {2}));
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "index_select: index 3 at position 1 is outside [0, 3)");
  }
  EXPECT_THROW(index_select(a, Tensor::from<std::int64_t>({-1}, {1})), Error);
  EXPECT_THROW(gather(a, Tensor::from<std::int64_t>({0, 5}, {1, 2}), 0), Error);
  EXPECT_THROW(index_add(a, Tensor::from<std::int64_t>({0, 1, 4}, {3}), 4), Error);
  EXPECT_THROW(index_select(a, Tensor::zeros({2})), Error);
  EXPECT_THROW(gather(a, Tensor::arange(3), 0), Error);
}

TEST(Gather, NothingAsked) {
  EXPECT_EQ(index_select(Tensor::zeros({3, 2}), Tensor::arange(0)).shape(), (Shape{0, 2}));
  EXPECT_EQ(index_select(Tensor::zeros({0, 2}), Tensor::arange(0)).shape(), (Shape{0, 2}));
  EXPECT_THROW(index_select(Tensor::zeros({0, 2}), Tensor::arange(1)), Error);
}

TEST(Gather, IntegersToo) {
  const Tensor a = Tensor::from<std::int64_t>({10, 20, 30}, {3});
  EXPECT_EQ(index_select(a, Tensor::from<std::int64_t>({2, 2, 0}, {3})).to_vector<std::int64_t>(),
            (std::vector<std::int64_t>{30, 30, 10}));
}

}  // namespace
}  // namespace usol::test
