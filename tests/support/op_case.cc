#include "tests/support/op_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/support/devices.h"
#include "usol/autograd/grad_mode.h"
#include "usol/autograd/gradcheck.h"
#include "usol/ops/gemm.h"
#include "usol/tensor/allocator.h"
#include "usol/tensor/check.h"
#include "usol/tensor/device_count.h"
#include "usol/tensor/generator.h"

namespace usol::test {
namespace {

// The same elements, as a view with gaps in the last dimension and the first two dimensions' memory order swapped.
Tensor with_gaps(const Tensor& dense) {
  if (dense.rank() == 0 || dense.numel() == 0) return dense;
  Shape wide = dense.shape();
  wide[-1] = 2 * wide[-1] + 1;
  const bool swap = dense.rank() >= 2;
  if (swap) std::swap(wide[0], wide[1 % wide.rank()]);
  if (dense.rank() == 2) wide = Shape{2 * dense.size(1) + 1, dense.size(0)};
  Tensor holder = Tensor::full(wide, 77, dense.dtype(), dense.device());
  Tensor view = swap ? holder.transpose(0, 1) : holder;
  view = view.slice(-1, 1, 1 + 2 * dense.size(-1) - 1, 2);
  view.copy_from(dense);
  return view;
}

Tensors widened(const Tensors& inputs) {
  Tensors out;
  for (const Tensor& t : inputs) {
    const Tensor host = t.to(Device::cpu()).contiguous();
    out.push_back(is_floating(host.dtype()) ? host.to(DType::kF64) : host);
  }
  return out;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.to(Device::cpu()).contiguous(), y = b.to(Device::cpu()).contiguous();
  if (x.shape() != y.shape() || x.dtype() != y.dtype()) return false;
  return x.numel() == 0 || std::memcmp(x.raw(), y.raw(), static_cast<std::size_t>(x.numel()) * size_of(x.dtype())) == 0;
}

class OpCaseTest : public testing::Test {
 public:
  OpCaseTest(const OpCase& op_case, Device device) : case_(op_case), device_(device) {}

  void TestBody() override {
    if (device_.is_cuda() && !cuda_available()) GTEST_SKIP() << "no CUDA device";
    check_all();
    if (!case_.both_backends || device_.is_cuda() || gemm_backend() == GemmBackend::kEigen) return;
    SCOPED_TRACE("on the Eigen backend");
    set_gemm_backend(GemmBackend::kEigen);
    check_all();
    set_gemm_backend(GemmBackend::kOneDnn);
  }

 private:
  void check_all() {
    for (DType dtype : device_.is_cuda() ? case_.cuda_dtypes : case_.dtypes) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " on " + to_string(device_));
      check_values(dtype);
    }
    if (case_.gradient) check_gradient();
  }

  void check_values(DType dtype) {
    const std::size_t live = allocator(device_.type).stats().live_bytes;
    const GuardedAllocations guards;
    {
      const NoGrad no_grad;
      const Tensors inputs = make_inputs(case_.inputs, dtype, device_);
      const Tensor expected = case_.reference(widened(inputs));
      {
        const Tensor got = case_.op(inputs);
        compare(got, expected, dtype);
        if (case_.rerun_equal) EXPECT_TRUE(same_bits(got, case_.op(inputs))) << "a second run gave other bits";
      }
      if (case_.strided) {
        SCOPED_TRACE("strided inputs");
        Tensors views;
        for (const Tensor& t : inputs) views.push_back(with_gaps(t));
        compare(case_.op(views), expected, dtype);
      }
      for (std::size_t i = 0; i < inputs.size(); ++i)
        EXPECT_TRUE(same_bits(inputs[i], make_inputs(case_.inputs, dtype, device_)[i])) << "input " << i << " changed";
    }
    EXPECT_EQ(guards.violations(), 0) << "wrote outside a block";
    EXPECT_EQ(allocator(device_.type).stats().live_bytes, live) << "memory is still held";
  }

  void compare(const Tensor& got, const Tensor& expected, DType dtype) {
    ASSERT_EQ(to_string(got.shape()), to_string(expected.shape()));
    EXPECT_TRUE(got.device() == device_);
    const double tolerance = case_.tolerance > 0 ? case_.tolerance : tolerance_of(dtype, case_.reduction);
    EXPECT_LE(relative_error(got, expected), is_floating(got.dtype()) ? tolerance : 0.0);
  }

  void check_gradient() {
    std::vector<int> skip;
    for (std::size_t i = 0; i < case_.inputs.size(); ++i)
      if (!case_.inputs[i].differentiable) skip.push_back(static_cast<int>(i));
    const GuardedAllocations guards;
    const auto hold = [&](const Tensors& inputs) {
      const GradcheckResult result = gradcheck(case_.op, inputs, 1e-5, skip);
      EXPECT_LE(result.max_error, 1e-6) << result.worst;
    };
    const Tensors inputs = make_inputs(case_.inputs, DType::kF64, device_);
    hold(inputs);
    if (case_.strided) {
      SCOPED_TRACE("strided inputs");
      Tensors views;
      for (const Tensor& t : inputs) views.push_back(with_gaps(t));
      hold(views);
    }
    EXPECT_EQ(guards.violations(), 0);
  }

  const OpCase& case_;
  Device device_;
};

}  // namespace

namespace {

struct Place {
  const char* file;
  int line;
};
std::vector<Place>& places() {  // of all_op_cases()
  static std::vector<Place> all;
  return all;
}

}  // namespace

std::vector<OpCase>& all_op_cases() {
  static std::vector<OpCase> cases;
  return cases;
}

bool register_op_case(OpCase op_case, const char* file, int line) {
  all_op_cases().push_back(std::move(op_case));
  places().push_back({file, line});
  return true;
}

void register_op_tests() {
  for (std::size_t i = 0; i < places().size(); ++i) {
    const OpCase& op_case = all_op_cases()[i];
    for (const Device device : {Device::cpu(), Device::cuda()}) {
      if (device.is_cuda() && !is_linked(DeviceType::kCuda)) continue;
      testing::RegisterTest("Op", (op_case.name + (device.is_cpu() ? "/cpu" : "/cuda")).c_str(), nullptr, nullptr,
                            places()[i].file, places()[i].line,
                            [&op_case, device]() -> testing::Test* { return new OpCaseTest(op_case, device); });
    }
  }
}

Tensors make_inputs(const std::vector<Input>& inputs, DType dtype, Device device) {
  Tensors out;
  std::uint64_t stream = 0;
  for (const Input& input : inputs) {
    Generator generator(42, stream++);
    const bool integer = input.integer != DType::kF32;
    Tensor t = Tensor::empty(input.shape, DType::kF64);
    double* data = t.mutable_data<double>();
    for (std::int64_t i = 0; i < t.numel(); ++i) {
      const double value = generator.uniform(input.low, input.high);
      data[i] = integer ? std::floor(value) : value;
    }
    out.push_back(t.to(integer ? input.integer : dtype).to(device));
  }
  return out;
}

Work bench_work(const OpCase& op_case, const Tensors& inputs, const Tensor& output) {
  const auto bytes_of = [](const Tensor& t) { return static_cast<double>(t.numel()) * size_of(t.dtype()); };
  Work work{.bytes = bytes_of(output), .flop = op_case.bench_flop};
  for (std::size_t i = 0; i < inputs.size(); ++i) work.bytes += op_case.bench_inputs.at(i).read * bytes_of(inputs[i]);
  return work;
}

double relative_error(const Tensor& a, const Tensor& b) {
  check(a.shape() == b.shape(), "relative_error: shapes {} and {}", a.shape(), b.shape());
  const auto x = a.detach().to(Device::cpu()).to(DType::kF64).to_vector<double>();
  const auto y = b.detach().to(Device::cpu()).to(DType::kF64).to_vector<double>();
  double difference = 0, scale = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) {
      if (std::isfinite(y[i])) scale = std::max(scale, std::abs(y[i]));
      continue;
    }
    const double d = std::abs(x[i] - y[i]);
    if (!std::isfinite(d)) return INFINITY;
    difference = std::max(difference, d);
    scale = std::max(scale, std::abs(y[i]));
  }
  if (difference == 0) return 0;
  return scale > 0 ? difference / scale : difference;
}

double tolerance_of(DType dtype, std::int64_t reduction) {
  const double terms = 4.0 + static_cast<double>(reduction);
  switch (dtype) {
    case DType::kF16:
      return 0x1p-10 * 2 + 0x1p-23 * terms;  // rounded once, summed in f32
    case DType::kBF16:
      return 0x1p-7 * 2 + 0x1p-23 * terms;
    case DType::kF32:
      return 0x1p-23 * terms;
    case DType::kF64:
      return 0x1p-52 * terms;
    default:
      return 0;
  }
}

}  // namespace usol::test
