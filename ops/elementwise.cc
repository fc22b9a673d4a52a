#include "usol/ops/elementwise.h"

#include <cstddef>
#include <type_traits>
#include <utility>

#include "usol/autograd/in_place.h"
#include "usol/autograd/tape.h"
#include "usol/ops/elementwise_math.h"
#include "usol/ops/gelu.h"
#include "usol/ops/reduce.h"
#include "usol/tensor/bf16_rows.h"
#include "usol/tensor/check.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/parallel.h"
#include "usol/tensor/strided.h"

namespace usol {

constinit Kernel<void(BinaryOp, const Tensor&, const Tensor&, Tensor&)> binary_kernel{"binary"};
constinit Kernel<void(UnaryOp, const Tensor&, Tensor&)> unary_kernel{"unary"};
constinit Kernel<void(UnaryOp, const Tensor&, const Tensor&, Tensor&)> unary_grad_kernel{"unary_grad"};
constinit Kernel<void(BinaryOp, const Tensor&, const Tensor&, const Tensor&, Tensor&)> extremum_grad_kernel{
    "extremum_grad"};
constinit Kernel<void(const Tensor&, double, double, Tensor&)> affine_kernel{"affine"};

namespace {

const char* name_of(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd:
      return "add";
    case BinaryOp::kSub:
      return "sub";
    case BinaryOp::kMul:
      return "mul";
    case BinaryOp::kDiv:
      return "div";
    case BinaryOp::kMaximum:
      return "maximum";
    case BinaryOp::kMinimum:
      return "minimum";
  }
  return "binary";
}

const char* name_of(UnaryOp op) {
  switch (op) {
    case UnaryOp::kNeg:
      return "neg";
    case UnaryOp::kExp:
      return "exp";
    case UnaryOp::kLog:
      return "log";
    case UnaryOp::kSqrt:
      return "sqrt";
    case UnaryOp::kAbs:
      return "abs";
    case UnaryOp::kRelu:
      return "relu";
    case UnaryOp::kSigmoid:
      return "sigmoid";
    case UnaryOp::kSilu:
      return "silu";
    case UnaryOp::kGelu:
      return "gelu";
  }
  return "unary";
}

// The forward computation alone, without recording: gradients are written with it.
Tensor binary_values(BinaryOp op, const Tensor& a, const Tensor& b) {
  const char* name = name_of(op);
  check(is_floating(a.dtype()) && a.dtype() == b.dtype(),
        "{}: expected two tensors of one floating dtype, got {} and {}", name, a.dtype(), b.dtype());
  check(a.device() == b.device(), "{}: tensors on {} and {}", name, a.device(), b.device());
  const Shape shape = broadcast_shapes(a.shape(), b.shape(), name);
  Tensor out = shape == a.shape()   ? empty_like(a)
               : shape == b.shape() ? empty_like(b)
                                    : Tensor::empty(shape, a.dtype(), a.device());
  binary_kernel(a.device(), op, a.detach().expand(shape), b.detach().expand(shape), out);
  return out;
}

Tensor binary(BinaryOp op, const Tensor& a, const Tensor& b) {
  const Tensor out = binary_values(op, a, b);
  const bool needs_values = op != BinaryOp::kAdd && op != BinaryOp::kSub;
  const Saved sa(needs_values ? a : Tensor()), sb(needs_values ? b : Tensor());
  const Shape a_shape = a.shape(), b_shape = b.shape();
  return record(name_of(op), {a, b}, out, [=](const Tensor& grad, const Needs& needs) {
    const char* name = name_of(op);
    const auto extremum = [&](const Tensor& x, const Tensor& y) {
      Tensor g = empty_like(grad);
      extremum_grad_kernel(grad.device(), op, x.expand(grad.shape()), y.expand(grad.shape()), grad, g);
      return g;
    };
    Tensor ga, gb;
    switch (op) {
      case BinaryOp::kAdd:
        ga = grad;
        gb = grad;
        break;
      case BinaryOp::kSub:
        ga = grad;
        if (needs[1]) gb = affine(grad, -1);
        break;
      case BinaryOp::kMul:
        if (needs[0]) ga = binary_values(BinaryOp::kMul, grad, sb.get(name));
        if (needs[1]) gb = binary_values(BinaryOp::kMul, grad, sa.get(name));
        break;
      case BinaryOp::kDiv:
        ga = binary_values(BinaryOp::kDiv, grad, sb.get(name));
        if (needs[1])
          gb = affine(binary_values(BinaryOp::kMul, ga, binary_values(BinaryOp::kDiv, sa.get(name), sb.get(name))), -1);
        break;
      case BinaryOp::kMaximum:
      case BinaryOp::kMinimum:
        if (needs[0]) ga = extremum(sa.get(name), sb.get(name));
        if (needs[1]) gb = extremum(sb.get(name), sa.get(name));
        break;
    }
    return std::vector<Tensor>{needs[0] ? sum_to(ga, a_shape) : Tensor(), needs[1] ? sum_to(gb, b_shape) : Tensor()};
  });
}

Tensor unary(UnaryOp op, const Tensor& a) {
  check(is_floating(a.dtype()), "{}: expected a floating dtype, got {}", name_of(op), a.dtype());
  Tensor out = empty_like(a);
  unary_kernel(a.device(), op, a, out);
  const Saved saved(a);
  return record(name_of(op), {a}, out, [op, saved](const Tensor& grad, const Needs&) {
    Tensor g = in_place_of(grad);
    unary_grad_kernel(grad.device(), op, saved.get(name_of(op)), grad, g);
    return std::vector<Tensor>{g};
  });
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return binary(BinaryOp::kAdd, a, b); }
Tensor sub(const Tensor& a, const Tensor& b) { return binary(BinaryOp::kSub, a, b); }
Tensor mul(const Tensor& a, const Tensor& b) { return binary(BinaryOp::kMul, a, b); }
Tensor div(const Tensor& a, const Tensor& b) { return binary(BinaryOp::kDiv, a, b); }
Tensor maximum(const Tensor& a, const Tensor& b) { return binary(BinaryOp::kMaximum, a, b); }
Tensor minimum(const Tensor& a, const Tensor& b) { return binary(BinaryOp::kMinimum, a, b); }

Tensor neg(const Tensor& a) { return unary(UnaryOp::kNeg, a); }
Tensor exp(const Tensor& a) { return unary(UnaryOp::kExp, a); }
Tensor log(const Tensor& a) { return unary(UnaryOp::kLog, a); }
Tensor sqrt(const Tensor& a) { return unary(UnaryOp::kSqrt, a); }
Tensor abs(const Tensor& a) { return unary(UnaryOp::kAbs, a); }
Tensor relu(const Tensor& a) { return unary(UnaryOp::kRelu, a); }
Tensor sigmoid(const Tensor& a) { return unary(UnaryOp::kSigmoid, a); }
Tensor silu(const Tensor& a) { return unary(UnaryOp::kSilu, a); }
Tensor gelu(const Tensor& a) { return unary(UnaryOp::kGelu, a); }

Tensor add_relu(const Tensor& a, const Tensor& b) {
  Tensor out = binary_values(BinaryOp::kAdd, a, b);
  unary_kernel(out.device(), UnaryOp::kRelu, out, out);
  const Saved saved(out);  // positive exactly where the sum is
  const Shape a_shape = a.shape(), b_shape = b.shape();
  return record("add_relu", {a, b}, out, [=](const Tensor& grad, const Needs& needs) {
    Tensor g = in_place_of(grad);
    unary_grad_kernel(grad.device(), UnaryOp::kRelu, saved.get("add_relu"), grad, g);
    return std::vector<Tensor>{needs[0] ? sum_to(g, a_shape) : Tensor(), needs[1] ? sum_to(g, b_shape) : Tensor()};
  });
}

Tensor affine(const Tensor& a, double scale, double offset) {
  check(is_floating(a.dtype()), "affine: expected a floating dtype, got {}", a.dtype());
  Tensor out = empty_like(a);
  affine_kernel(a.device(), a, scale, offset, out);
  return record("affine", {a}, out,
                [scale](const Tensor& grad, const Needs&) { return std::vector<Tensor>{affine(grad, scale)}; });
}

namespace {

// out[i] = f(inputs[i]...) over any strides, in the accumulator type. Where all lie densely, row(inputs..., count, out)
// does the same, unless it is a null pointer.
template <class T, class F, class Row, class... Inputs>
void map_cpu(Tensor& out, F f, Row row, const Inputs&... inputs) {
  using A = Accumulator<T>;
  T* to = out.mutable_data<T>();
  const T* from[] = {inputs.template data<T>()...};
  const StridedLoop loop(out.shape(), {out.strides(), inputs.strides()...});
  loop.parallel([&](const auto& offset, std::int64_t count, const auto& stride) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      T* t = to + offset[0];
      bool dense = stride[0] == 1;
      ((dense = dense && stride[I + 1] == 1), ...);
      if constexpr (!std::is_same_v<Row, std::nullptr_t>) {
        if (dense) return row((from[I] + offset[I + 1])..., count, t);
      }
      if (dense) {  // the common case, in a form the compiler vectorises
        for (std::int64_t i = 0; i < count; ++i) t[i] = T(f(A(from[I][offset[I + 1] + i])...));
      } else {
        for (std::int64_t i = 0; i < count; ++i)
          t[i * stride[0]] = T(f(A(from[I][offset[I + 1] + i * stride[I + 1]])...));
      }
    }
    (std::index_sequence_for<Inputs...>{});
  });
}

// The vectorised loops that there are.
template <class T, BinaryOp op>
auto row_of() {
  if constexpr (std::is_same_v<T, bf16> && op == BinaryOp::kAdd)
    return &bf16_rows::add;
  else
    return nullptr;
}
template <class T, UnaryOp op>
auto row_of() {
  if constexpr (std::is_same_v<T, bf16> && op == UnaryOp::kRelu)
    return &bf16_rows::relu;
  else
    return nullptr;
}
template <class T, UnaryOp op>
auto grad_row_of() {
  if constexpr (std::is_same_v<T, bf16> && op == UnaryOp::kRelu)
    return &bf16_rows::relu_grad;
  else
    return nullptr;
}

// Calls f with the op as a compile-time constant, so that each loop has one function in it.
template <class F>
void with_constant(BinaryOp op, F&& f) {
  switch (op) {
    case BinaryOp::kAdd:
      return f(std::integral_constant<BinaryOp, BinaryOp::kAdd>{});
    case BinaryOp::kSub:
      return f(std::integral_constant<BinaryOp, BinaryOp::kSub>{});
    case BinaryOp::kMul:
      return f(std::integral_constant<BinaryOp, BinaryOp::kMul>{});
    case BinaryOp::kDiv:
      return f(std::integral_constant<BinaryOp, BinaryOp::kDiv>{});
    case BinaryOp::kMaximum:
      return f(std::integral_constant<BinaryOp, BinaryOp::kMaximum>{});
    case BinaryOp::kMinimum:
      return f(std::integral_constant<BinaryOp, BinaryOp::kMinimum>{});
  }
}

template <class F>
void with_constant(UnaryOp op, F&& f) {
  switch (op) {
    case UnaryOp::kNeg:
      return f(std::integral_constant<UnaryOp, UnaryOp::kNeg>{});
    case UnaryOp::kExp:
      return f(std::integral_constant<UnaryOp, UnaryOp::kExp>{});
    case UnaryOp::kLog:
      return f(std::integral_constant<UnaryOp, UnaryOp::kLog>{});
    case UnaryOp::kSqrt:
      return f(std::integral_constant<UnaryOp, UnaryOp::kSqrt>{});
    case UnaryOp::kAbs:
      return f(std::integral_constant<UnaryOp, UnaryOp::kAbs>{});
    case UnaryOp::kRelu:
      return f(std::integral_constant<UnaryOp, UnaryOp::kRelu>{});
    case UnaryOp::kSigmoid:
      return f(std::integral_constant<UnaryOp, UnaryOp::kSigmoid>{});
    case UnaryOp::kSilu:
      return f(std::integral_constant<UnaryOp, UnaryOp::kSilu>{});
    case UnaryOp::kGelu:
      return f(std::integral_constant<UnaryOp, UnaryOp::kGelu>{});
  }
}

void binary_cpu(BinaryOp op, const Tensor& a, const Tensor& b, Tensor& out) {
  dispatch_floating(out.dtype(), "binary", [&]<class T>() {
    with_constant(op, [&](auto constant) {
      map_cpu<T>(
          out, [](auto x, auto y) { return elementwise::apply(decltype(constant)::value, x, y); },
          row_of<T, decltype(constant)::value>(), a, b);
    });
  });
}

void unary_cpu(UnaryOp op, const Tensor& a, Tensor& out) {
  if (op == UnaryOp::kGelu && out.dtype() == DType::kF32 && a.is_contiguous() && out.is_contiguous()) {
    const float* from = a.data<float>();
    float* to = out.mutable_data<float>();
    return parallel_for(0, out.numel(), 16384,
                        [=](std::int64_t first, std::int64_t end) { gelu_f32(from + first, to + first, end - first); });
  }
  dispatch_floating(out.dtype(), "unary", [&]<class T>() {
    with_constant(op, [&](auto constant) {
      map_cpu<T>(
          out, [](auto x) { return elementwise::apply(decltype(constant)::value, x); },
          row_of<T, decltype(constant)::value>(), a);
    });
  });
}

void unary_grad_cpu(UnaryOp op, const Tensor& a, const Tensor& grad_out, Tensor& grad_in) {
  dispatch_floating(a.dtype(), "unary_grad", [&]<class T>() {
    with_constant(op, [&](auto constant) {
      map_cpu<T>(
          grad_in, [](auto x, auto g) { return g * elementwise::derivative(decltype(constant)::value, x); },
          grad_row_of<T, decltype(constant)::value>(), a, grad_out);
    });
  });
}

void extremum_grad_cpu(BinaryOp op, const Tensor& a, const Tensor& b, const Tensor& grad_out, Tensor& grad_a) {
  dispatch_floating(a.dtype(), "extremum_grad", [&]<class T>() {
    map_cpu<T>(
        grad_a, [op](auto x, auto y, auto g) { return g * elementwise::extremum_share(op, x, y); }, nullptr, a, b,
        grad_out);
  });
}

void affine_cpu(const Tensor& a, double scale, double offset, Tensor& out) {
  dispatch_floating(a.dtype(), "affine", [&]<class T>() {
    using A = Accumulator<T>;
    map_cpu<T>(
        out, [s = A(scale), o = A(offset)](A x) { return s * x + o; }, nullptr, a);
  });
}

const Register r_binary(binary_kernel, DeviceType::kCpu, binary_cpu);
const Register r_unary(unary_kernel, DeviceType::kCpu, unary_cpu);
const Register r_unary_grad(unary_grad_kernel, DeviceType::kCpu, unary_grad_cpu);
const Register r_extremum(extremum_grad_kernel, DeviceType::kCpu, extremum_grad_cpu);
const Register r_affine(affine_kernel, DeviceType::kCpu, affine_cpu);

}  // namespace
}  // namespace usol
