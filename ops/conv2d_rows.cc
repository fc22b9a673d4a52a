#include "usol/ops/conv2d_rows.h"

#include <algorithm>

#include "usol/ops/gemm.h"
#include "usol/tensor/layout.h"
#include "usol/tensor/parallel.h"

namespace usol {
namespace {

// Sizes of one convolution, whichever of its three products is asked for.
struct Geometry {
  std::int64_t n, c, h, w, o, kh, kw, out_h, out_w;
  std::int64_t stride_h, stride_w, pad_h, pad_w, step_h, step_w, groups;

  Geometry(const Shape& x, const Shape& weight, const Shape& y, const Conv2dOptions& options)
      : n(x[0]),
        c(x[1]),
        h(x[2]),
        w(x[3]),
        o(y[1]),
        kh(weight[2]),
        kw(weight[3]),
        out_h(y[2]),
        out_w(y[3]),
        stride_h(options.stride[0]),
        stride_w(options.stride[1]),
        pad_h(options.padding[0]),
        pad_w(options.padding[1]),
        step_h(options.dilation[0]),
        step_w(options.dilation[1]),
        groups(options.groups) {}

  std::int64_t group_c() const { return c / groups; }
  std::int64_t group_o() const { return o / groups; }
  std::int64_t row_length() const { return kh * kw * group_c(); }
  std::int64_t lines() const { return n * out_h; }  // rows of output pixels of the whole batch
  // Lines handled together: rows that stay in the caches' reach, but enough of them for a product to be worth it.
  std::int64_t lines_at_once() const {
    constexpr std::int64_t kElements = 1 << 21;
    return std::clamp<std::int64_t>(kElements / (out_w * row_length()), 1, lines());
  }
  // A 1 x 1 kernel that visits every pixel: the map's own memory holds the rows.
  bool plain() const {
    return kh == 1 && kw == 1 && stride_h == 1 && stride_w == 1 && pad_h == 0 && pad_w == 0 && groups == 1;
  }
};

// Rows of the output lines [first, end): [line, ow] [kh][kw][c of the group]; zeros where the kernel leaves the map.
template <class T>
void gather_rows(const Geometry& s, const T* x, std::int64_t group, std::int64_t first, std::int64_t end, T* rows) {
  const std::int64_t channels = s.group_c(), length = s.row_length();
  parallel_for(first, end, 1, [&](std::int64_t from_line, std::int64_t to_line) {
    for (std::int64_t line = from_line; line < to_line; ++line) {
      const std::int64_t image = line / s.out_h, oh = line % s.out_h;
      T* to = rows + (line - first) * s.out_w * length;
      for (std::int64_t ow = 0; ow < s.out_w; ++ow) {
        for (std::int64_t i = 0; i < s.kh; ++i) {
          const std::int64_t h = oh * s.stride_h - s.pad_h + i * s.step_h;
          for (std::int64_t j = 0; j < s.kw; ++j, to += channels) {
            const std::int64_t w = ow * s.stride_w - s.pad_w + j * s.step_w;
            if (h < 0 || h >= s.h || w < 0 || w >= s.w)
              std::fill_n(to, channels, T(0));
            else
              std::copy_n(x + ((image * s.h + h) * s.w + w) * s.c + group * channels, channels, to);
          }
        }
      }
    }
  });
}

// The reverse: adds the rows of the lines [first, end) to the pixels of x that they came from. Threads share the map's
// own lines, so that no two add to one pixel and the order of additions is always the same.
template <class T>
void scatter_rows(const Geometry& s, const T* rows, std::int64_t group, std::int64_t first, std::int64_t end, T* x) {
  const std::int64_t channels = s.group_c(), length = s.row_length();
  parallel_for(first / s.out_h * s.h, ((end - 1) / s.out_h + 1) * s.h, 1, [&](std::int64_t begin, std::int64_t stop) {
    for (std::int64_t line_of_x = begin; line_of_x < stop; ++line_of_x) {
      const std::int64_t image = line_of_x / s.h, h = line_of_x % s.h;
      for (std::int64_t i = 0; i < s.kh; ++i) {
        const std::int64_t above = h + s.pad_h - i * s.step_h;
        if (above < 0 || above % s.stride_h != 0 || above / s.stride_h >= s.out_h) continue;
        const std::int64_t line = image * s.out_h + above / s.stride_h;
        if (line < first || line >= end) continue;
        for (std::int64_t ow = 0; ow < s.out_w; ++ow) {
          for (std::int64_t j = 0; j < s.kw; ++j) {
            const std::int64_t w = ow * s.stride_w - s.pad_w + j * s.step_w;
            if (w < 0 || w >= s.w) continue;
            const T* from = rows + ((line - first) * s.out_w + ow) * length + (i * s.kw + j) * channels;
            T* to = x + (line_of_x * s.w + w) * s.c + group * channels;
            for (std::int64_t k = 0; k < channels; ++k) to[k] += from[k];
          }
        }
      }
    }
  });
}

// [O, C / g, kh, kw] <-> [O, kh, kw, C / g].
Tensor to_row_order(const Tensor& weight) { return weight.permute({0, 2, 3, 1}).contiguous(); }
Shape row_order(const Shape& weight) { return {weight[0], weight[2], weight[3], weight[1]}; }

template <class T>
void forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options, bool accumulate,
             Tensor& out) {
  const Geometry s(x.shape(), weight.shape(), out.shape(), options);
  const Tensor kernel = to_row_order(weight);
  const std::int64_t at_once = s.plain() ? s.lines() : s.lines_at_once();
  Tensor rows = Tensor::empty({s.plain() ? 0 : at_once * s.out_w, s.row_length()}, x.dtype());
  T* to = out.mutable_data<T>();
  for (std::int64_t first = 0; first < s.lines(); first += at_once) {
    const std::int64_t end = std::min(s.lines(), first + at_once);
    for (std::int64_t group = 0; group < s.groups; ++group) {
      if (!s.plain()) gather_rows(s, x.data<T>(), group, first, end, rows.mutable_data<T>());
      Gemm<T> g;
      g.transpose_b = true;
      g.m = (end - first) * s.out_w;
      g.n = s.group_o();
      g.k = s.row_length();
      g.a = s.plain() ? x.data<T>() : rows.data<T>();
      g.lda = g.k;
      g.b = kernel.data<T>() + group * g.n * g.k;
      g.ldb = g.k;
      g.c = to + first * s.out_w * s.o + group * g.n;
      g.ldc = s.o;
      g.accumulate = accumulate;
      g.bias = bias.defined() ? bias.data<T>() + group * g.n : nullptr;
      g.activation = options.relu ? Activation::kRelu : Activation::kNone;
      gemm(g);
    }
  }
}

// out = [relu] (out + bias), out [M, C].
template <class T>
void finish_rows(const Tensor& bias, bool relu, Tensor& out) {
  const std::int64_t columns = out.size(1);
  const T* b = bias.defined() ? bias.data<T>() : nullptr;
  T* to = out.mutable_data<T>();
  parallel_for(0, out.size(0), std::max<std::int64_t>(1, 16384 / columns), [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) {
      T* row = to + r * columns;
      for (std::int64_t i = 0; i < columns; ++i) {
        const T value = b ? row[i] + b[i] : row[i];
        row[i] = relu && value < T(0) ? T(0) : value;
      }
    }
  });
}

template <class T>
void grad_input(const Tensor& grad, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                Tensor& out) {
  const Geometry s(out.shape(), weight.shape(), grad.shape(), options);
  const Tensor kernel = to_row_order(weight);
  const std::int64_t at_once = s.plain() ? s.lines() : s.lines_at_once();
  Tensor rows = Tensor::empty({s.plain() ? 0 : at_once * s.out_w, s.row_length()}, grad.dtype());
  if (!s.plain()) out.fill(0);
  T* to = out.mutable_data<T>();
  for (std::int64_t first = 0; first < s.lines(); first += at_once) {
    const std::int64_t end = std::min(s.lines(), first + at_once);
    for (std::int64_t group = 0; group < s.groups; ++group) {
      Gemm<T> g;
      g.m = (end - first) * s.out_w;
      g.n = s.row_length();
      g.k = s.group_o();
      g.a = grad.data<T>() + first * s.out_w * s.o + group * g.k;
      g.lda = s.o;
      g.b = kernel.data<T>() + group * g.k * g.n;
      g.ldb = g.n;
      g.c = s.plain() ? to : rows.mutable_data<T>();
      g.ldc = g.n;
      gemm(g);
      if (!s.plain()) scatter_rows(s, rows.data<T>(), group, first, end, to);
    }
  }
  Tensor pixels = channels_last_rows(out);
  if (bias.defined() || options.relu) finish_rows<T>(bias, options.relu, pixels);
}

template <class T>
void grad_weight(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out) {
  const Geometry s(x.shape(), out.shape(), grad.shape(), options);
  const std::int64_t at_once = s.plain() ? s.lines() : s.lines_at_once();
  Tensor rows = Tensor::empty({s.plain() ? 0 : at_once * s.out_w, s.row_length()}, x.dtype());
  Tensor kernel = Tensor::empty(row_order(out.shape()), x.dtype());
  for (std::int64_t first = 0; first < s.lines(); first += at_once) {
    const std::int64_t end = std::min(s.lines(), first + at_once);
    for (std::int64_t group = 0; group < s.groups; ++group) {
      if (!s.plain()) gather_rows(s, x.data<T>(), group, first, end, rows.mutable_data<T>());
      Gemm<T> g;
      g.transpose_a = true;
      g.m = s.group_o();
      g.n = s.row_length();
      g.k = (end - first) * s.out_w;
      g.a = grad.data<T>() + first * s.out_w * s.o + group * g.m;
      g.lda = s.o;
      g.b = s.plain() ? x.data<T>() : rows.data<T>();
      g.ldb = g.n;
      g.c = kernel.mutable_data<T>() + group * g.m * g.n;
      g.ldc = g.n;
      g.accumulate = first > 0;
      gemm(g);
    }
  }
  out.copy_from(kernel.permute({0, 3, 1, 2}));
}

bool is_half(DType dtype) { return dtype == DType::kF16 || dtype == DType::kBF16; }
Tensor wide(const Tensor& t) { return t.defined() ? t.to(DType::kF32) : t; }
Tensor wide_map(const Tensor& t) {
  Tensor map = empty_channels_last(t.shape(), DType::kF32, {});
  map.copy_from(t);
  return map;
}

}  // namespace

void conv2d_rows(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                 bool accumulate, Tensor& out) {
  if (is_half(x.dtype())) {  // summed in f32 and rounded once
    Tensor result = accumulate ? wide_map(out) : empty_channels_last(out.shape(), DType::kF32, {});
    conv2d_rows(wide_map(x), wide(weight), wide(bias), options, accumulate, result);
    out.copy_from(result);
  } else if (x.dtype() == DType::kF64) {
    forward<double>(x, weight, bias, options, accumulate, out);
  } else {
    forward<float>(x, weight, bias, options, accumulate, out);
  }
}

void conv2d_grad_input_rows(const Tensor& grad, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                            Tensor& out) {
  if (is_half(grad.dtype())) {
    Tensor result = empty_channels_last(out.shape(), DType::kF32, {});
    conv2d_grad_input_rows(wide_map(grad), wide(weight), wide(bias), options, result);
    out.copy_from(result);
  } else if (grad.dtype() == DType::kF64) {
    grad_input<double>(grad, weight, bias, options, out);
  } else {
    grad_input<float>(grad, weight, bias, options, out);
  }
}

void conv2d_grad_weight_rows(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out) {
  if (is_half(x.dtype())) {
    Tensor result = Tensor::empty(out.shape(), DType::kF32);
    conv2d_grad_weight_rows(wide_map(x), wide_map(grad), options, result);
    out.copy_from(result);
  } else if (x.dtype() == DType::kF64) {
    grad_weight<double>(x, grad, options, out);
  } else {
    grad_weight<float>(x, grad, options, out);
  }
}

}  // namespace usol
