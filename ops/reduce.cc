#include "usol/ops/reduce.h"

#include <algorithm>
#include <limits>

#include "usol/autograd/tape.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(ReduceOp, const Tensor&, Tensor&)> reduce_kernel{"reduce"};

namespace {

// Which dimensions are reduced, as a mask over a's rank.
std::vector<bool> reduced_dims(const Tensor& a, const std::vector<int>& dims, const char* op) {
  std::vector<bool> reduced(static_cast<std::size_t>(a.rank()), dims.empty());
  for (int dim : dims) {
    const auto d = static_cast<std::size_t>(a.shape().index(dim));
    check(!reduced[d], "{}: dimension {} of {} is named twice", op, dim, a.shape());
    reduced[d] = true;
  }
  return reduced;
}

Shape kept_shape(const Shape& shape, const std::vector<bool>& reduced, bool keepdim) {
  Shape out;
  for (int d = 0; d < shape.rank(); ++d) {
    if (!reduced[static_cast<std::size_t>(d)])
      out.push_back(shape[d]);
    else if (keepdim)
      out.push_back(1);
  }
  return out;
}

// Brings the reduced dimensions to the back and flattens: [outer, reduced].
Tensor reduce_values(ReduceOp op, const Tensor& a, const std::vector<bool>& reduced) {
  std::vector<int> order;
  std::int64_t outer = 1, inner = 1;
  for (int pass = 0; pass < 2; ++pass) {
    for (int d = 0; d < a.rank(); ++d) {
      if (reduced[static_cast<std::size_t>(d)] != (pass == 1)) continue;
      order.push_back(d);
      (pass == 1 ? inner : outer) *= a.size(d);
    }
  }
  Tensor out = Tensor::empty({outer}, a.dtype(), a.device());
  reduce_kernel(a.device(), op, a.permute(order).reshape({outer, inner}), out);
  return out;
}

}  // namespace

Tensor sum(const Tensor& a, const std::vector<int>& dims, bool keepdim) {
  check(is_floating(a.dtype()), "sum: expected a floating dtype, got {}", a.dtype());
  const auto reduced = reduced_dims(a, dims, "sum");
  const Shape kept = kept_shape(a.shape(), reduced, true), shape = a.shape();
  const Tensor out = reduce_values(ReduceOp::kSum, a.detach(), reduced).reshape(kept_shape(shape, reduced, keepdim));
  return record("sum", {a}, out, [kept, shape](const Tensor& grad, const Needs&) {
    return std::vector<Tensor>{grad.reshape(kept).expand(shape)};
  });
}

Tensor mean(const Tensor& a, const std::vector<int>& dims, bool keepdim) {
  const Tensor total = sum(a, dims, keepdim);
  check(a.numel() > 0, "mean: over no elements, shape {}", a.shape());
  return affine(total, static_cast<double>(total.numel()) / static_cast<double>(a.numel()));
}

Tensor amax(const Tensor& a, const std::vector<int>& dims, bool keepdim) {
  check(is_floating(a.dtype()), "amax: expected a floating dtype, got {}", a.dtype());
  check(a.numel() > 0, "amax: over no elements, shape {}", a.shape());
  const auto reduced = reduced_dims(a, dims, "amax");
  const Shape kept = kept_shape(a.shape(), reduced, true);
  const Tensor out =
      reduce_values(ReduceOp::kMax, a.detach(), reduced).reshape(kept_shape(a.shape(), reduced, keepdim));
  const Saved input(a), output(out);
  return record("amax", {a}, out, [=](const Tensor& grad, const Needs&) {
    // A value below the maximum gets share 0, a tie with it 1/2: normalise by the number of ties.
    const Tensor& x = input.get("amax");
    const Tensor top = output.get("amax").reshape(kept).expand(x.shape());
    Tensor share = Tensor::empty(x.shape(), x.dtype(), x.device());
    extremum_grad_kernel(x.device(), BinaryOp::kMaximum, x, top,
                         Tensor::full({1}, 1, x.dtype(), x.device()).expand(x.shape()), share);
    const Tensor ties = reduce_values(ReduceOp::kSum, share, reduced).reshape(kept);
    return std::vector<Tensor>{mul(share, div(grad.reshape(kept), ties))};
  });
}

Tensor sum_to(const Tensor& a, const Shape& shape) {
  if (a.shape() == shape) return a;
  std::vector<bool> reduced(static_cast<std::size_t>(a.rank()));
  const int added = a.rank() - shape.rank();
  for (int d = 0; d < a.rank(); ++d)
    reduced[static_cast<std::size_t>(d)] = d < added || (shape[d - added] == 1 && a.size(d) != 1);
  return reduce_values(ReduceOp::kSum, a.detach(), reduced).reshape(shape);
}

namespace {

constexpr std::int64_t kBlock = 256;  // sums run over blocks: the rounding error grows with inner/256 + 256

// Columns of a row-major matrix: neighbouring ones go down together, each in the order that it would be summed in
// alone.
template <class T>
void reduce_columns(ReduceOp op, const Tensor& in, Tensor& out) {
  using A = Accumulator<T>;
  constexpr std::int64_t kColumns = 32;
  const std::int64_t outer = in.size(0), inner = in.size(1), stride = in.strides()[1];
  const T* from = in.data<T>();
  T* to = out.mutable_data<T>();
  parallel_for(0, (outer + kColumns - 1) / kColumns, 1, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t g = first; g < end; ++g) {
      const std::int64_t begin = g * kColumns, count = std::min(kColumns, outer - begin);
      A total[kColumns], block[kColumns];
      std::fill_n(total, kColumns, op == ReduceOp::kSum ? A(0) : -std::numeric_limits<A>::infinity());
      for (std::int64_t b = 0; b < inner; b += kBlock) {
        const std::int64_t stop = std::min(inner, b + kBlock);
        std::fill_n(block, kColumns, A(0));
        for (std::int64_t i = b; i < stop; ++i) {
          const T* row = from + i * stride + begin;
          if (op == ReduceOp::kSum) {
            for (std::int64_t c = 0; c < count; ++c) block[c] += A(row[c]);
          } else {
            for (std::int64_t c = 0; c < count; ++c)
              total[c] = A(row[c]) > total[c] || A(row[c]) != A(row[c]) ? A(row[c]) : total[c];
          }
        }
        if (op == ReduceOp::kSum)
          for (std::int64_t c = 0; c < count; ++c) total[c] += block[c];
      }
      for (std::int64_t c = 0; c < count; ++c) to[begin + c] = T(total[c]);
    }
  });
}

template <class T>
void reduce_cpu_typed(ReduceOp op, const Tensor& in, Tensor& out) {
  using A = Accumulator<T>;
  const std::int64_t outer = in.size(0), inner = in.size(1), so = in.strides()[0], si = in.strides()[1];
  if (so == 1 && si != 1) return reduce_columns<T>(op, in, out);
  const T* from = in.data<T>();
  T* to = out.mutable_data<T>();
  parallel_for(0, outer, std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, inner)),
               [&](std::int64_t first, std::int64_t end) {
                 for (std::int64_t o = first; o < end; ++o) {
                   const T* row = from + o * so;
                   A total = op == ReduceOp::kSum ? A(0) : -std::numeric_limits<A>::infinity();
                   for (std::int64_t b = 0; b < inner; b += kBlock) {
                     const std::int64_t stop = std::min(inner, b + kBlock);
                     if (op == ReduceOp::kSum) {
                       A block = 0;
                       for (std::int64_t i = b; i < stop; ++i) block += A(row[i * si]);
                       total += block;
                     } else {
                       for (std::int64_t i = b; i < stop; ++i) {
                         const A x = A(row[i * si]);
                         if (x > total || x != x) total = x;
                       }
                     }
                   }
                   to[o] = T(total);
                 }
               });
}

void reduce_cpu(ReduceOp op, const Tensor& in, Tensor& out) {
  dispatch_floating(in.dtype(), "reduce", [&]<class T>() { reduce_cpu_typed<T>(op, in, out); });
}

const Register r_reduce(reduce_kernel, DeviceType::kCpu, reduce_cpu);

}  // namespace
}  // namespace usol
