#include "usol/ops/compare.h"

#include <algorithm>

#include "usol/autograd/tape.h"
#include "usol/ops/compare_math.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/check.h"
#include "usol/tensor/strided.h"

namespace usol {

constinit Kernel<void(CompareOp, const Tensor&, const Tensor&, Tensor&)> compare_kernel{"compare"};
constinit Kernel<void(const Tensor&, const Tensor&, const Tensor&, Tensor&)> where_kernel{"where"};
constinit Kernel<void(const Tensor&, Tensor&)> nonzero_kernel{"nonzero"};

namespace {

Tensor compare(CompareOp op, const char* name, const Tensor& a, const Tensor& b) {
  check(a.dtype() == b.dtype() && a.device() == b.device(), "{}: {} on {} and {} on {}", name, a.dtype(), a.device(),
        b.dtype(), b.device());
  const Shape shape = broadcast_shapes(a.shape(), b.shape(), name);
  Tensor out = Tensor::empty(shape, DType::kBool, a.device());
  compare_kernel(a.device(), op, a.detach().expand(shape), b.detach().expand(shape), out);
  return out;
}

Tensor constant(const Tensor& like, double value) { return Tensor::full({}, value, like.dtype(), like.device()); }

void check_bool(const char* name, const Tensor& t) {
  check(t.dtype() == DType::kBool, "{}: expected a bool tensor, got {}", name, t.dtype());
}

// Without recording; all shapes broadcast.
Tensor choose(const Tensor& mask, const Tensor& a, const Tensor& b) {
  const Shape shape = broadcast_shapes(broadcast_shapes(a.shape(), b.shape(), "where"), mask.shape(), "where");
  Tensor out = Tensor::empty(shape, a.dtype(), a.device());
  where_kernel(a.device(), mask.expand(shape), a.detach().expand(shape), b.detach().expand(shape), out);
  return out;
}

}  // namespace

Tensor equal(const Tensor& a, const Tensor& b) { return compare(CompareOp::kEqual, "equal", a, b); }
Tensor not_equal(const Tensor& a, const Tensor& b) { return compare(CompareOp::kNotEqual, "not_equal", a, b); }
Tensor less(const Tensor& a, const Tensor& b) { return compare(CompareOp::kLess, "less", a, b); }
Tensor less_equal(const Tensor& a, const Tensor& b) { return compare(CompareOp::kLessEqual, "less_equal", a, b); }
Tensor greater(const Tensor& a, const Tensor& b) { return compare(CompareOp::kGreater, "greater", a, b); }
Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return compare(CompareOp::kGreaterEqual, "greater_equal", a, b);
}
Tensor equal(const Tensor& a, double b) { return equal(a, constant(a, b)); }
Tensor not_equal(const Tensor& a, double b) { return not_equal(a, constant(a, b)); }
Tensor less(const Tensor& a, double b) { return less(a, constant(a, b)); }
Tensor less_equal(const Tensor& a, double b) { return less_equal(a, constant(a, b)); }
Tensor greater(const Tensor& a, double b) { return greater(a, constant(a, b)); }
Tensor greater_equal(const Tensor& a, double b) { return greater_equal(a, constant(a, b)); }

Tensor logical_and(const Tensor& a, const Tensor& b) {
  check_bool("logical_and", a);
  return compare(CompareOp::kAnd, "logical_and", a, b);
}
Tensor logical_or(const Tensor& a, const Tensor& b) {
  check_bool("logical_or", a);
  return compare(CompareOp::kOr, "logical_or", a, b);
}
Tensor logical_not(const Tensor& a) {
  check_bool("logical_not", a);
  return compare(CompareOp::kEqual, "logical_not", a, constant(a, 0));
}

Tensor where(const Tensor& mask, const Tensor& a, const Tensor& b) {
  check_bool("where", mask);
  check(a.dtype() == b.dtype() && a.device() == b.device() && mask.device() == a.device(),
        "where: mask on {}, {} on {} and {} on {}", mask.device(), a.dtype(), a.device(), b.dtype(), b.device());
  const Tensor out = choose(mask, a, b);
  if (!is_floating(a.dtype())) return out;
  const Saved saved(mask);
  return record("where", {a, b}, out,
                [saved, a_shape = a.shape(), b_shape = b.shape()](const Tensor& grad, const Needs& needs) {
                  const Tensor &m = saved.get("where"), zero = constant(grad, 0);
                  return std::vector<Tensor>{needs[0] ? sum_to(choose(m, grad, zero), a_shape) : Tensor(),
                                             needs[1] ? sum_to(choose(m, zero, grad), b_shape) : Tensor()};
                });
}

Tensor masked_fill(const Tensor& a, const Tensor& mask, double value) {
  check(broadcast_shapes(a.shape(), mask.shape(), "masked_fill") == a.shape(),
        "masked_fill: mask of shape {} for a tensor of {}", mask.shape(), a.shape());
  return where(mask, constant(a, value), a);
}

Tensor nonzero(const Tensor& mask) {
  check_bool("nonzero", mask);
  Tensor out;
  nonzero_kernel(mask.device(), mask.contiguous().reshape({mask.numel()}), out);
  return out;
}

namespace {

void compare_cpu(CompareOp op, const Tensor& a, const Tensor& b, Tensor& out) {
  bool* to = out.mutable_data<bool>();
  const StridedLoop loop(out.shape(), {out.strides(), a.strides(), b.strides()});
  dispatch_all(a.dtype(), [&]<class T>() {
    using A = Accumulator<T>;
    const T *x = a.data<T>(), *y = b.data<T>();
    loop.parallel([&](const auto& offset, std::int64_t count, const auto& stride) {
      for (std::int64_t i = 0; i < count; ++i)
        to[offset[0] + i * stride[0]] = holds(op, A(x[offset[1] + i * stride[1]]), A(y[offset[2] + i * stride[2]]));
    });
  });
}

void where_cpu(const Tensor& mask, const Tensor& a, const Tensor& b, Tensor& out) {
  const bool* m = mask.data<bool>();
  const StridedLoop loop(out.shape(), {out.strides(), mask.strides(), a.strides(), b.strides()});
  dispatch_all(a.dtype(), [&]<class T>() {
    const T *x = a.data<T>(), *y = b.data<T>();
    T* to = out.mutable_data<T>();
    loop.parallel([&](const auto& offset, std::int64_t count, const auto& stride) {
      for (std::int64_t i = 0; i < count; ++i)
        to[offset[0] + i * stride[0]] =
            m[offset[1] + i * stride[1]] ? x[offset[2] + i * stride[2]] : y[offset[3] + i * stride[3]];
    });
  });
}

void nonzero_cpu(const Tensor& mask, Tensor& out) {
  const bool* m = mask.data<bool>();
  const std::int64_t n = mask.numel();
  out = Tensor::empty({std::count(m, m + n, true)}, DType::kI64);
  std::int64_t* to = out.mutable_data<std::int64_t>();
  for (std::int64_t i = 0; i < n; ++i)
    if (m[i]) *to++ = i;
}

const Register r_compare(compare_kernel, DeviceType::kCpu, compare_cpu);
const Register r_where(where_kernel, DeviceType::kCpu, where_cpu);
const Register r_nonzero(nonzero_kernel, DeviceType::kCpu, nonzero_cpu);

}  // namespace
}  // namespace usol
