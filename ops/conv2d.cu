// Convolutions on CUDA. cuDNN takes f32, f16 and bf16 where it has an engine; the rest (f64, shapes it has none for)
// are products of matrices through cuBLASLt, whose rows are the neighbourhoods of output pixels, as in conv2d_rows.cc.

#include <cuda_runtime.h>

#include "usol/ops/conv2d.h"
#include "usol/ops/elementwise.h"
#include "usol/tensor/cuda/any.cuh"
#include "usol/tensor/cuda/blas.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/dnn.h"
#include "usol/tensor/cuda/launch.h"
#include "usol/tensor/layout.h"

namespace usol {
namespace {

using cuda::BlasProduct;
using cuda::Queue;

cuda::DnnConvolution for_dnn(const Conv2dOptions& o) { return {o.stride, o.padding, o.dilation, o.groups}; }

// Sizes of one group of a convolution, by value to kernels.
struct Geometry {
  std::int64_t n, c, h, w, o, kh, kw, out_h, out_w;
  std::int64_t stride_h, stride_w, pad_h, pad_w, step_h, step_w;
  std::int64_t group_c, group_o, groups;

  __host__ __device__ std::int64_t row_length() const { return kh * kw * group_c; }
  std::int64_t rows_of_image() const { return out_h * out_w; }
  // Images whose rows are in memory together. Whole ones, so that a pixel's sum is never split.
  std::int64_t at_once() const {
    constexpr std::int64_t kElements = std::int64_t{1} << 26;
    const std::int64_t count = kElements / (rows_of_image() * row_length());
    return count < 1 ? 1 : count < n ? count : n;
  }
};

Geometry geometry(const Shape& x, const Shape& weight, const Shape& y, const Conv2dOptions& o) {
  Geometry s{};
  s.n = x[0], s.c = x[1], s.h = x[2], s.w = x[3];
  s.o = y[1], s.kh = weight[2], s.kw = weight[3], s.out_h = y[2], s.out_w = y[3];
  s.stride_h = o.stride[0], s.stride_w = o.stride[1];
  s.pad_h = o.padding[0], s.pad_w = o.padding[1];
  s.step_h = o.dilation[0], s.step_w = o.dilation[1];
  s.groups = o.groups, s.group_c = s.c / o.groups, s.group_o = s.o / o.groups;
  return s;
}

// rows [images oh ow, kh kw c]; a word is an element unread. Zero bits are the number zero.
template <class Word>
__global__ void gather_rows_kernel(Geometry s, const Word* x, std::int64_t group, std::int64_t first_image,
                                   std::int64_t images, Word* rows) {
  const std::int64_t count = images * s.out_h * s.out_w * s.row_length();
  for (std::int64_t e = cuda::first_item(); e < count; e += cuda::item_stride()) {
    const std::int64_t c = e % s.group_c, j = e / s.group_c % s.kw, i = e / (s.group_c * s.kw) % s.kh;
    const std::int64_t pixel = e / s.row_length();
    const std::int64_t ow = pixel % s.out_w, oh = pixel / s.out_w % s.out_h,
                       image = first_image + pixel / (s.out_w * s.out_h);
    const std::int64_t h = oh * s.stride_h - s.pad_h + i * s.step_h, w = ow * s.stride_w - s.pad_w + j * s.step_w;
    const bool inside = h >= 0 && h < s.h && w >= 0 && w < s.w;
    rows[e] = inside ? x[((image * s.h + h) * s.w + w) * s.c + group * s.group_c + c] : Word(0);
  }
}

// The reverse: every element of x sums the rows' entries that came from it, in a fixed order.
template <class T>
__global__ void collect_rows_kernel(Geometry s, const T* rows, std::int64_t group, std::int64_t first_image,
                                    std::int64_t images, T* x) {
  using A = Accumulator<T>;
  const std::int64_t count = images * s.h * s.w * s.group_c;
  for (std::int64_t e = cuda::first_item(); e < count; e += cuda::item_stride()) {
    const std::int64_t c = e % s.group_c, w = e / s.group_c % s.w, h = e / (s.group_c * s.w) % s.h,
                       image = e / (s.group_c * s.w * s.h);
    A total = 0;
    for (std::int64_t i = 0; i < s.kh; ++i) {
      const std::int64_t above = h + s.pad_h - i * s.step_h;
      if (above < 0 || above % s.stride_h != 0 || above / s.stride_h >= s.out_h) continue;
      for (std::int64_t j = 0; j < s.kw; ++j) {
        const std::int64_t left = w + s.pad_w - j * s.step_w;
        if (left < 0 || left % s.stride_w != 0 || left / s.stride_w >= s.out_w) continue;
        const std::int64_t pixel = (image * s.out_h + above / s.stride_h) * s.out_w + left / s.stride_w;
        total += A(rows[pixel * s.row_length() + (i * s.kw + j) * s.group_c + c]);
      }
    }
    x[(((first_image + image) * s.h + h) * s.w + w) * s.c + group * s.group_c + c] = T(total);
  }
}

void gather_rows(const Queue& queue, const Geometry& s, const Tensor& x, std::int64_t group, std::int64_t first,
                 std::int64_t images, Tensor& rows) {
  rows.storage()->bump_version();
  cuda::dispatch_word(size_of(x.dtype()), [&]<class Word>() {
    queue.launch(gather_rows_kernel<Word>, queue.blocks_for(images * s.rows_of_image() * s.row_length()),
                 cuda::kThreads, 0, s, reinterpret_cast<const Word*>(x.raw()), group, first, images,
                 reinterpret_cast<Word*>(rows.raw()));
  });
}

const std::byte* at(const Tensor& t, std::int64_t elements) {
  return t.raw() + elements * static_cast<std::int64_t>(size_of(t.dtype()));
}
std::byte* at(Tensor& t, std::int64_t elements) {
  return t.raw() + elements * static_cast<std::int64_t>(size_of(t.dtype()));
}

Tensor empty_rows(const Geometry& s, const Tensor& like) {
  return Tensor::empty({s.at_once() * s.rows_of_image(), s.row_length()}, like.dtype(), like.device());
}

// out = [relu] (out + bias), in passes of their own.
void finish(const Tensor& bias, bool relu, Tensor& out) {
  if (bias.defined())
    binary_kernel(out.device(), BinaryOp::kAdd, out, bias.reshape({1, bias.size(0), 1, 1}).expand(out.shape()), out);
  if (relu) unary_kernel(out.device(), UnaryOp::kRelu, out, out);
}

// Calls body(group, first image, images, rows) for the pieces of the work.
template <class Body>
void for_pieces(const Geometry& s, Body&& body) {
  for (std::int64_t first = 0; first < s.n; first += s.at_once()) {
    const std::int64_t images = first + s.at_once() < s.n ? s.at_once() : s.n - first;
    for (std::int64_t group = 0; group < s.groups; ++group) body(group, first, images);
  }
}

// [O, C / g, kh, kw] -> dense [O, kh, kw, C / g].
Tensor to_row_order(const Tensor& weight) { return weight.permute({0, 2, 3, 1}).contiguous(); }

void conv2d_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                 bool accumulate, Tensor& out) {
  const Queue queue("conv2d", x.device());
  const Tensor kernel = to_row_order(weight);
  if (!accumulate) {
    if (dnn_convolution(queue, x, kernel, bias, for_dnn(options), options.relu, out)) return;
    if ((bias.defined() || options.relu) && dnn_convolution(queue, x, kernel, {}, for_dnn(options), false, out))
      return finish(bias, options.relu, out);
  } else if (Tensor branch = empty_like(out); dnn_convolution(queue, x, kernel, {}, for_dnn(options), false, branch)) {
    binary_kernel(out.device(), BinaryOp::kAdd, out, branch, out);
    return finish(bias, options.relu, out);
  }
  const Geometry s = geometry(x.shape(), weight.shape(), out.shape(), options);
  Tensor rows = empty_rows(s, x);
  out.storage()->bump_version();
  for_pieces(s, [&](std::int64_t group, std::int64_t first, std::int64_t images) {
    gather_rows(queue, s, x, group, first, images, rows);
    BlasProduct p;
    p.dtype = x.dtype();
    p.transpose_b = true;
    p.m = images * s.rows_of_image();
    p.n = s.group_o;
    p.k = s.row_length();
    p.a = rows.raw();
    p.lda = p.k;
    p.b = at(kernel, group * p.n * p.k);
    p.ldb = p.k;
    p.c = at(out, first * s.rows_of_image() * s.o + group * p.n);
    p.ldc = s.o;
    p.accumulate = accumulate;
    blas_product(queue, p);
  });
  finish(bias, options.relu, out);
}

void conv2d_grad_input_cuda(const Tensor& grad, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                            Tensor& out) {
  const Queue queue("conv2d_grad_input", grad.device());
  const Tensor kernel = to_row_order(weight);
  if (!dnn_convolution_grad_input(queue, grad, kernel, for_dnn(options), out)) {
    const Geometry s = geometry(out.shape(), weight.shape(), grad.shape(), options);
    Tensor rows = empty_rows(s, grad);
    for_pieces(s, [&](std::int64_t group, std::int64_t first, std::int64_t images) {
      BlasProduct p;
      p.dtype = grad.dtype();
      p.m = images * s.rows_of_image();
      p.n = s.row_length();
      p.k = s.group_o;
      p.a = at(grad, first * s.rows_of_image() * s.o + group * p.k);
      p.lda = s.o;
      p.b = at(kernel, group * p.k * p.n);
      p.ldb = p.n;
      p.c = rows.raw();
      p.ldc = p.n;
      rows.storage()->bump_version();
      blas_product(queue, p);
      dispatch_floating(grad.dtype(), "conv2d_grad_input", [&]<class T>() {
        queue.launch(collect_rows_kernel<T>, queue.blocks_for(images * s.h * s.w * s.group_c), cuda::kThreads, 0, s,
                     rows.data<T>(), group, first, images, out.mutable_data<T>());
      });
    });
  }
  finish(bias, options.relu, out);
}

void conv2d_grad_weight_cuda(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out) {
  const Queue queue("conv2d_grad_weight", x.device());
  Tensor kernel = Tensor::empty({out.size(0), out.size(2), out.size(3), out.size(1)}, x.dtype(), x.device());
  if (!dnn_convolution_grad_weight(queue, x, grad, for_dnn(options), kernel)) {
    const Geometry s = geometry(x.shape(), out.shape(), grad.shape(), options);
    Tensor rows = empty_rows(s, x);
    kernel.storage()->bump_version();
    for_pieces(s, [&](std::int64_t group, std::int64_t first, std::int64_t images) {
      gather_rows(queue, s, x, group, first, images, rows);
      BlasProduct p;
      p.dtype = x.dtype();
      p.transpose_a = true;
      p.m = s.group_o;
      p.n = s.row_length();
      p.k = images * s.rows_of_image();
      p.a = at(grad, first * s.rows_of_image() * s.o + group * p.m);
      p.lda = s.o;
      p.b = rows.raw();
      p.ldb = p.n;
      p.c = at(kernel, group * p.m * p.n);
      p.ldc = p.n;
      p.accumulate = first > 0;
      blas_product(queue, p);
    });
  }
  out.copy_from(kernel.permute({0, 3, 1, 2}));
}

const Register r_conv2d(conv2d_kernel, DeviceType::kCuda, conv2d_cuda);
const Register r_grad_input(conv2d_grad_input_kernel, DeviceType::kCuda, conv2d_grad_input_cuda);
const Register r_grad_weight(conv2d_grad_weight_kernel, DeviceType::kCuda, conv2d_grad_weight_cuda);

}  // namespace
}  // namespace usol
