// Attention on CUDA. f16 and bf16 go to cuDNN's fused attention where it takes the shape; f32 (which it does not take),
// f64, other shapes and all gradients go to the tiled kernels here, which follow the same online softmax.
// Source: Dao et al. 2022, "FlashAttention", algorithms 1 and 4.

#include <cuda_runtime.h>

#include <limits>
#include <string>

#include "usol/ops/attention.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/dnn.h"
#include "usol/tensor/cuda/launch.h"

namespace usol {
namespace {

using cuda::Queue;

// A block is 16 x 16 threads. Thread (tx, ty) owns rows ty + 16 i and columns tx + 16 j of every tile: neighbouring
// threads then read neighbouring columns, and the tiles' rows are one element longer than they need be, so that reads
// down a column fall into different banks.
constexpr int kSide = 16;
// Loops over a thread's own rows and columns are unrolled by order: left to itself, the compiler keeps what they index
// in local memory instead of registers.

// [N, H, L, D] with any strides but a dense last dimension.
struct Heads {
  const void* data;
  std::int64_t n, h, l;  // strides in elements
};
Heads heads_of(const Tensor& t) { return {t.raw(), t.strides()[0], t.strides()[1], t.strides()[2]}; }
struct Sizes {
  std::int64_t heads, queries, keys, width;  // H, Lq, Lk, D
  DType dtype;
};

// The scores' bias of a map of keys: dense rows [N, H, Lq, h] and columns [N, H, Lq, w]; null: none.
struct Bias {
  const void *rows = nullptr, *columns = nullptr;
  std::int64_t row_count = 1, column_count = 1;  // h, w
};
Bias bias_of(const AttentionBias& bias) {
  if (!bias.defined()) return {};
  return {bias.rows.raw(), bias.columns.raw(), bias.rows.size(3), bias.columns.size(3)};
}

// The dtype is a run-time argument of loads and stores, so that there is one kernel per accumulator type.
template <class A>
__device__ A load(const void* data, DType dtype, std::int64_t i) {
  if constexpr (std::is_same_v<A, double>) return static_cast<const double*>(data)[i];
  if (dtype == DType::kF16) return A(float(static_cast<const f16*>(data)[i]));
  if (dtype == DType::kBF16) return A(float(static_cast<const bf16*>(data)[i]));
  return A(static_cast<const float*>(data)[i]);
}
template <class A>
__device__ void store(void* data, DType dtype, std::int64_t i, A value) {
  if constexpr (std::is_same_v<A, double>) {
    static_cast<double*>(data)[i] = value;
  } else if (dtype == DType::kF16) {
    static_cast<f16*>(data)[i] = f16(value);
  } else if (dtype == DType::kBF16) {
    static_cast<bf16*>(data)[i] = bf16(value);
  } else {
    static_cast<float*>(data)[i] = value;
  }
}

// What the bias adds to the score of a key; `query` counts over all heads.
template <class A>
__device__ A bias_at(const Bias& bias, DType dtype, std::int64_t query, std::int64_t key) {
  if (bias.rows == nullptr) return A(0);
  const unsigned at = static_cast<unsigned>(key), width = static_cast<unsigned>(bias.column_count);  // cheap to divide
  return load<A>(bias.rows, dtype, query * bias.row_count + at / width) +
         load<A>(bias.columns, dtype, query * bias.column_count + at % width);
}

// Rows [first, first + kTile) of one head into a tile [kTile][kWidth + 1], zero outside `rows` x `width`.
template <class A, int kTile, int kWidth>
__device__ void load_tile(const Heads& from, DType dtype, std::int64_t offset, std::int64_t first, std::int64_t rows,
                          std::int64_t width, A* tile) {
  for (int e = static_cast<int>(threadIdx.y * kSide + threadIdx.x); e < kTile * kWidth; e += kSide * kSide) {
    const int r = e / kWidth, d = e % kWidth;
    const bool inside = first + r < rows && d < width;
    tile[r * (kWidth + 1) + d] = inside ? load<A>(from.data, dtype, offset + (first + r) * from.l + d) : A(0);
  }
}

// c[i][j] += sum over d < depth of a[row i][d] * b[column j][d], of this thread's rows and columns.
template <class A, int kRows, int kColumns>
__device__ void multiply_rows(A (&c)[kRows][kColumns], const A* a, int a_stride, const A* b, int b_stride, int depth) {
  for (int d = 0; d < depth; ++d) {
    A left[kRows], right[kColumns];
#pragma unroll
    for (int i = 0; i < kRows; ++i) left[i] = a[(threadIdx.y + kSide * i) * a_stride + d];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) right[j] = b[(threadIdx.x + kSide * j) * b_stride + d];
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) c[i][j] += left[i] * right[j];
  }
}

// c[i][j] += sum over k < depth of a(row i, k) * b[k][column j]; a is read down its columns if kTransposed.
template <class A, bool kTransposed, int kRows, int kColumns>
__device__ void multiply(A (&c)[kRows][kColumns], const A* a, int a_stride, const A* b, int b_stride, int depth) {
  for (int k = 0; k < depth; ++k) {
    A left[kRows], right[kColumns];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = static_cast<int>(threadIdx.y) + kSide * i;
      left[i] = kTransposed ? a[k * a_stride + row] : a[row * a_stride + k];
    }
#pragma unroll
    for (int j = 0; j < kColumns; ++j) right[j] = b[k * b_stride + threadIdx.x + kSide * j];
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) c[i][j] += left[i] * right[j];
  }
}

// Over the 16 threads that share a row.
template <class A, class Combine>
__device__ A row_reduce(A value, Combine combine) {
  for (int offset = kSide / 2; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(cuda::kAllLanes, value, offset));
  return value;
}

template <class A, int kTile, int kWidth>
constexpr std::size_t kForwardShared = sizeof(A) * (3 * kTile * (kWidth + 1) + kTile * (kTile + 1));

// Block (x, y): rows [x kTile, ...) of head y of the batch.
template <class A, int kTile, int kWidth>
__global__ void attention_forward_kernel(Heads q, Heads k, Heads v, Sizes sizes, double scale, Bias bias, void* out,
                                         std::int64_t out_n, std::int64_t out_h, std::int64_t out_l, A* log_sum) {
  constexpr int kM = kTile / kSide, kN = kWidth / kSide, kStride = kWidth + 1, kScoreStride = kTile + 1;
  A* const tile_q = cuda::dynamic_shared<A>();
  A* const tile_k = tile_q + kTile * kStride;
  A* const tile_v = tile_k + kTile * kStride;
  A* const tile_p = tile_v + kTile * kStride;
  const std::int64_t n = blockIdx.y / sizes.heads, h = blockIdx.y % sizes.heads;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  load_tile<A, kTile, kWidth>(q, sizes.dtype, n * q.n + h * q.h, first, sizes.queries, sizes.width, tile_q);

  A sum[kM], top[kM], total[kM][kN] = {};
#pragma unroll
  for (int i = 0; i < kM; ++i) {
    sum[i] = 0;
    top[i] = -std::numeric_limits<A>::infinity();
  }
  for (std::int64_t key = 0; key < sizes.keys; key += kTile) {
    __syncthreads();
    load_tile<A, kTile, kWidth>(k, sizes.dtype, n * k.n + h * k.h, key, sizes.keys, sizes.width, tile_k);
    load_tile<A, kTile, kWidth>(v, sizes.dtype, n * v.n + h * v.h, key, sizes.keys, sizes.width, tile_v);
    __syncthreads();
    A score[kM][kM] = {};
    multiply_rows(score, tile_q, kStride, tile_k, kStride, kWidth);
#pragma unroll
    for (int i = 0; i < kM; ++i) {
      A highest = top[i];
#pragma unroll
      for (int j = 0; j < kM; ++j) {
        const std::int64_t column = key + tx + kSide * j, row = first + ty + kSide * i;
        score[i][j] = score[i][j] * A(scale);
        if (row < sizes.queries && column < sizes.keys)
          score[i][j] += bias_at<A>(bias, sizes.dtype, blockIdx.y * sizes.queries + row, column);
        if (column >= sizes.keys) score[i][j] = -std::numeric_limits<A>::infinity();
        highest = cuda::Max()(highest, score[i][j]);
      }
      highest = row_reduce(highest, cuda::Max());  // finite: every tile has a key
      const A shrink = ::exp(top[i] - highest);
      A added = 0;
#pragma unroll
      for (int j = 0; j < kM; ++j) {
        const A p = ::exp(score[i][j] - highest);
        tile_p[(ty + kSide * i) * kScoreStride + tx + kSide * j] = p;
        added += p;
      }
      sum[i] = sum[i] * shrink + row_reduce(added, cuda::Sum());
      top[i] = highest;
#pragma unroll
      for (int j = 0; j < kN; ++j) total[i][j] *= shrink;
    }
    __syncthreads();
    multiply<A, false>(total, tile_p, kScoreStride, tile_v, kStride, kTile);
  }
#pragma unroll
  for (int i = 0; i < kM; ++i) {
    const std::int64_t row = first + ty + kSide * i;
    if (row >= sizes.queries) continue;
#pragma unroll
    for (int j = 0; j < kN; ++j)
      if (tx + kSide * j < sizes.width)
        store<A>(out, sizes.dtype, n * out_n + h * out_h + row * out_l + tx + kSide * j, total[i][j] / sum[i]);
    if (log_sum != nullptr && tx == 0)
      log_sum[static_cast<std::int64_t>(blockIdx.y) * sizes.queries + row] = top[i] + ::log(sum[i]);
  }
}

// dot[row] = sum over d of grad_out * out: a thread per row.
template <class A>
__global__ void attention_dots_kernel(Heads out, Heads grad_out, Sizes sizes, std::int64_t rows, A* dots) {
  for (std::int64_t r = cuda::first_item(); r < rows; r += cuda::item_stride()) {
    const std::int64_t l = r % sizes.queries, h = r / sizes.queries % sizes.heads, n = r / sizes.queries / sizes.heads;
    A dot = 0;
    for (std::int64_t d = 0; d < sizes.width; ++d)
      dot += load<A>(out.data, sizes.dtype, n * out.n + h * out.h + l * out.l + d) *
             load<A>(grad_out.data, sizes.dtype, n * grad_out.n + h * grad_out.h + l * grad_out.l + d);
    dots[r] = dot;
  }
}

template <class A, int kTile, int kWidth>
constexpr std::size_t kBackwardShared = sizeof(A) * (4 * kTile * (kWidth + 1) + 2 * kTile * (kTile + 1));

// The gradients, with P = softmax(S) rebuilt from the saved row sums: dV = P' dO, dS = P (dO V' - dots) scale,
// dQ = dS K, dK = dS' Q. With kForKeys a block owns kTile keys, walks the queries and writes dK, dV; else it owns kTile
// queries, walks the keys and writes dQ and, from dS / scale, the bias's gradient (zeros before). Nothing is added by
// two blocks, so the order of every sum is fixed.
template <class A, int kTile, int kWidth, bool kForKeys>
__global__ void attention_grad_tiles_kernel(Heads q, Heads k, Heads v, Heads grad_out, Sizes sizes, double scale,
                                            Bias bias, A* grad_rows, A* grad_columns, const A* log_sum, const A* dots,
                                            void* grad_a, void* grad_b) {
  constexpr int kM = kTile / kSide, kN = kWidth / kSide, kStride = kWidth + 1, kScoreStride = kTile + 1;
  A* const tile_q = cuda::dynamic_shared<A>();
  A* const tile_k = tile_q + kTile * kStride;
  A* const tile_v = tile_k + kTile * kStride;
  A* const tile_g = tile_v + kTile * kStride;
  A* const tile_p = tile_g + kTile * kStride;  // [query][key]
  A* const tile_s = tile_p + kTile * kScoreStride;
  const std::int64_t n = blockIdx.y / sizes.heads, h = blockIdx.y % sizes.heads;
  const std::int64_t own = static_cast<std::int64_t>(blockIdx.x) * kTile;
  const std::int64_t others = kForKeys ? sizes.queries : sizes.keys;
  const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
  const auto load_queries = [&](std::int64_t row) {
    load_tile<A, kTile, kWidth>(q, sizes.dtype, n * q.n + h * q.h, row, sizes.queries, sizes.width, tile_q);
    load_tile<A, kTile, kWidth>(grad_out, sizes.dtype, n * grad_out.n + h * grad_out.h, row, sizes.queries, sizes.width,
                                tile_g);
  };
  const auto load_keys = [&](std::int64_t row) {
    load_tile<A, kTile, kWidth>(k, sizes.dtype, n * k.n + h * k.h, row, sizes.keys, sizes.width, tile_k);
    load_tile<A, kTile, kWidth>(v, sizes.dtype, n * v.n + h * v.h, row, sizes.keys, sizes.width, tile_v);
  };
  if (kForKeys)
    load_keys(own);
  else
    load_queries(own);
  A sum_a[kM][kN] = {}, sum_b[kM][kN] = {};
  for (std::int64_t other = 0; other < others; other += kTile) {
    __syncthreads();
    if (kForKeys)
      load_queries(other);
    else
      load_keys(other);
    __syncthreads();
    const std::int64_t query = kForKeys ? other : own, key = kForKeys ? own : other;
    A score[kM][kM] = {}, grad_p[kM][kM] = {};
    multiply_rows(score, tile_q, kStride, tile_k, kStride, kWidth);
    multiply_rows(grad_p, tile_g, kStride, tile_v, kStride, kWidth);
#pragma unroll
    for (int i = 0; i < kM; ++i) {
      const int r = ty + kSide * i;
      const bool row_inside = query + r < sizes.queries;
      const std::int64_t row = static_cast<std::int64_t>(blockIdx.y) * sizes.queries + query + r;
      const A log_total = row_inside ? log_sum[row] : A(0), dot = row_inside ? dots[row] : A(0);
#pragma unroll
      for (int j = 0; j < kM; ++j) {
        const int c = tx + kSide * j;
        const bool inside = row_inside && key + c < sizes.keys;
        A p = 0;
        if (inside) p = ::exp(score[i][j] * A(scale) + bias_at<A>(bias, sizes.dtype, row, key + c) - log_total);
        const A grad_score = p * (grad_p[i][j] - dot);
        tile_p[r * kScoreStride + c] = kForKeys ? p : grad_score;
        tile_s[r * kScoreStride + c] = grad_score * A(scale);
      }
    }
    __syncthreads();
    if (kForKeys) {
      multiply<A, true>(sum_a, tile_s, kScoreStride, tile_q, kStride, kTile);  // dK
      multiply<A, true>(sum_b, tile_p, kScoreStride, tile_g, kStride, kTile);  // dV
    } else {
      multiply<A, false>(sum_a, tile_s, kScoreStride, tile_k, kStride, kTile);  // dQ
      // A thread per row, so that each sum has one owner and one order.
      const int r = ty * kSide + tx;
      if (bias.rows != nullptr && r < kTile && query + r < sizes.queries) {
        const std::int64_t row = static_cast<std::int64_t>(blockIdx.y) * sizes.queries + query + r;
        for (int c = 0; c < kTile && key + c < sizes.keys; ++c) {
          const A grad_score = tile_p[r * kScoreStride + c];
          grad_rows[row * bias.row_count + (key + c) / bias.column_count] += grad_score;
          grad_columns[row * bias.column_count + (key + c) % bias.column_count] += grad_score;
        }
      }
    }
  }
  const std::int64_t length = kForKeys ? sizes.keys : sizes.queries;
#pragma unroll
  for (int i = 0; i < kM; ++i) {
    const std::int64_t row = own + ty + kSide * i;
    if (row >= length) continue;
#pragma unroll
    for (int j = 0; j < kN; ++j) {
      const int c = tx + kSide * j;
      if (c >= sizes.width) continue;
      const std::int64_t at = (static_cast<std::int64_t>(blockIdx.y) * length + row) * sizes.width + c;
      store<A>(grad_a, sizes.dtype, at, sum_a[i][j]);
      if (kForKeys) store<A>(grad_b, sizes.dtype, at, sum_b[i][j]);
    }
  }
}

// f64 tiles are smaller, so that they fit shared memory.
template <class A>
constexpr int kTileOf = std::is_same_v<A, double> ? 32 : 64;

Sizes sizes_of(const Tensor& q, const Tensor& k) { return {q.size(1), q.size(2), k.size(2), q.size(3), q.dtype()}; }
cuda::Grid tiles_of(std::int64_t length, int tile, const Tensor& q) {
  return {(length + tile - 1) / tile, q.size(0) * q.size(1)};
}

// Calls f with the accumulator type and the width that tiles are padded to.
template <class F>
void dispatch_width(const char* op, const Tensor& q, F f) {
  if (q.size(3) > 128)
    fail(ErrorKind::kUnsupported, std::string(op) + ": on CUDA heads are at most 128 wide, got " +
                                      std::to_string(q.size(3)) + " as " + to_string(q.dtype()));
  if (q.dtype() == DType::kF64)
    q.size(3) <= 64 ? f.template operator()<double, 64>() : f.template operator()<double, 128>();
  else
    q.size(3) <= 64 ? f.template operator()<float, 64>() : f.template operator()<float, 128>();
}

void attention_cuda(const Tensor& q, const Tensor& k, const Tensor& v, double scale, const AttentionBias& bias,
                    Tensor& out, Tensor& log_sum) {
  const Queue queue("attention", q.device());
  out.storage()->bump_version();
  if (!bias.defined() && cuda::dnn_attention(queue, q, k, v, scale, out, log_sum)) return;
  dispatch_width("attention", q, [&]<class A, int kWidth>() {
    constexpr int kTile = kTileOf<A>;
    queue.launch(attention_forward_kernel<A, kTile, kWidth>, tiles_of(q.size(2), kTile, q), dim3(kSide, kSide),
                 kForwardShared<A, kTile, kWidth>, heads_of(q), heads_of(k), heads_of(v), sizes_of(q, k), scale,
                 bias_of(bias), out.raw(), out.strides()[0], out.strides()[1], out.strides()[2],
                 log_sum.defined() ? log_sum.mutable_data<A>() : nullptr);
  });
}

void attention_grad_cuda(const Tensor& q, const Tensor& k, const Tensor& v, double scale, const AttentionBias& bias,
                         const Tensor& out, const Tensor& log_sum, const Tensor& grad_out, Tensor& grad_q,
                         Tensor& grad_k, Tensor& grad_v, AttentionBias& grad_bias) {
  const Queue queue("attention_grad", q.device());
  dispatch_width("attention_grad", q, [&]<class A, int kWidth>() {
    constexpr int kTile = kTileOf<A>;
    const Sizes sizes = sizes_of(q, k);
    const std::int64_t rows = q.size(0) * q.size(1) * q.size(2);
    A *grad_rows = nullptr, *grad_columns = nullptr;
    if (bias.defined()) {
      grad_bias.rows.fill(0);
      grad_bias.columns.fill(0);
      grad_rows = grad_bias.rows.mutable_data<A>();
      grad_columns = grad_bias.columns.mutable_data<A>();
    }
    Tensor dots = Tensor::empty({rows}, dtype_of<A>, q.device());
    queue.launch(attention_dots_kernel<A>, queue.blocks_for(rows), cuda::kThreads, 0, heads_of(out), heads_of(grad_out),
                 sizes, rows, dots.mutable_data<A>());
    queue.launch(attention_grad_tiles_kernel<A, kTile, kWidth, true>, tiles_of(k.size(2), kTile, q), dim3(kSide, kSide),
                 kBackwardShared<A, kTile, kWidth>, heads_of(q), heads_of(k), heads_of(v), heads_of(grad_out), sizes,
                 scale, bias_of(bias), grad_rows, grad_columns, log_sum.data<A>(), dots.data<A>(), grad_k.raw(),
                 grad_v.raw());
    queue.launch(attention_grad_tiles_kernel<A, kTile, kWidth, false>, tiles_of(q.size(2), kTile, q),
                 dim3(kSide, kSide), kBackwardShared<A, kTile, kWidth>, heads_of(q), heads_of(k), heads_of(v),
                 heads_of(grad_out), sizes, scale, bias_of(bias), grad_rows, grad_columns, log_sum.data<A>(),
                 dots.data<A>(), grad_q.raw(), nullptr);
  });
}

const Register r_attention(attention_kernel, DeviceType::kCuda, attention_cuda);
const Register r_attention_grad(attention_grad_kernel, DeviceType::kCuda, attention_grad_cuda);

}  // namespace
}  // namespace usol
