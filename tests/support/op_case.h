#pragma once
// One table-driven case per op. OP_TEST adds a test that, on every available device and for every dtype asked for,
// checks the op against a naive f64 reference, on dense, strided and (where allowed) empty inputs, with guard bytes
// around all blocks, live bytes back at the start and a bit-equal rerun; and its gradients in f64 against central
// differences. The same cases are what bench/ times.

#include <functional>
#include <string>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::test {

using Tensors = std::vector<Tensor>;
using OpFunction = std::function<Tensor(const Tensors&)>;

/// How to fill one input with fixed pseudo-random numbers.
struct Input {
  Shape shape;
  double low = -1, high = 1;    // uniform range; for integers [low, high)
  DType integer = DType::kF32;  // kF32: takes the dtype under test; kI64, kI32, kU8, kBool: that dtype
  bool differentiable = true;
  double read = 1;  // of bench_inputs: the part of it that a call reads
};

struct OpCase {
  std::string name;
  OpFunction op;
  /// Naive and obviously right: gets the same inputs on the CPU, dense, floating ones widened to f64.
  OpFunction reference;
  std::vector<Input> inputs;
  std::vector<DType> dtypes = {DType::kF32, DType::kF64};
  std::vector<DType> cuda_dtypes = {DType::kF32, DType::kF16, DType::kBF16, DType::kF64};
  std::int64_t reduction = 1;  // longest sum an output element is made of; widens the tolerance
  bool gradient = true;
  bool strided = true;                   // also with inputs that are views with gaps
  bool both_backends = false;            // uses gemm() or a convolution: the CPU case runs on oneDNN and on Eigen
  bool rerun_equal = true;               // false only where docs/numerics.md says so
  double tolerance = 0;                  // 0: from epsilon and reduction; else this, with the reason beside it
  std::vector<Input> bench_inputs = {};  // sizes worth timing; empty: not timed
  double bench_flop = 0;                 // operations of one bench call, for FLOP/s
};

/// Adds the case to all_op_cases(). Use OP_TEST.
bool register_op_case(OpCase op_case, const char* file, int line);
/// Registers a gtest "Op.<name>/cpu" for each case, and "Op.<name>/cuda" in a link with CUDA. Called by main(): only
/// then is it known what this binary is linked with.
void register_op_tests();
std::vector<OpCase>& all_op_cases();
/// What a call has to do at least, whatever the device: bytes to move, each element of an input that is read and of the
/// output once, and operations.
struct Work {
  double bytes = 0, flop = 0;
};
/// Of a call with the case's bench_inputs, which gave `output`.
Work bench_work(const OpCase& op_case, const Tensors& inputs, const Tensor& output);
/// Inputs for a dtype on a device, the same numbers for every device.
Tensors make_inputs(const std::vector<Input>& inputs, DType dtype, Device device);

/// max |a - b| / max |b| (0 when both are empty). Shapes must be equal; infinite if either holds a NaN the other lacks.
double relative_error(const Tensor& a, const Tensor& b);
/// The tolerance for sums of `reduction` terms in `dtype`.
double tolerance_of(DType dtype, std::int64_t reduction);

}  // namespace usol::test

#define USOL_OP_TEST_NAME_(line) usol_op_case_##line
#define USOL_OP_TEST_NAME(line) USOL_OP_TEST_NAME_(line)
/// OP_TEST({.name = "add", .op = ..., ...});
#define OP_TEST(...)                                               \
  [[maybe_unused]] static const bool USOL_OP_TEST_NAME(__LINE__) = \
      ::usol::test::register_op_case(__VA_ARGS__, __FILE__, __LINE__)
