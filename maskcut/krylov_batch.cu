// Block Lanczos steps on CUDA, a thread block per problem. maskcut/krylov.cc is the same on the host, and the
// specification. Sums run in an order that n alone decides: elements i, i + 32, ... (dot products; i + 512 for norms)
// in a thread, then over lanes and warps as block_reduce() does; columns one after the other.

#include <cuda_runtime.h>

#include "usol/maskcut/krylov_batch.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"
#include "usol/tensor/generator.h"

namespace usol::maskcut {
namespace {

using cuda::kWarp;
using cuda::Queue;

// A batch has hardly more problems than a GPU has multiprocessors, so one block on each is enough, and its threads may
// have all registers. With room for several, the compiler spills.
constexpr int kProblemThreads = 512;
constexpr int kChunkWords = 32;                 // of the bit matrix's rows whose tables are in shared memory at a time
constexpr int kWordTables = 16, kEntries = 16;  // a table for every four columns, an entry for each of their subsets

struct Problems {
  std::int64_t n, words, block, capacity;
  double eps;
  const std::uint64_t* bits;
  const double* scale;
  double *columns, *image, *matrix, *coupling;
  std::int64_t* counts;
};

// One problem in the hands of its thread block. Every function is called by all threads, and what it wrote is visible
// to all of them when it returns. The counts are the same in every thread.
struct Basis {
  std::int64_t n, words, block, capacity;
  double eps;
  const std::uint64_t* bits;
  const double* scale;
  double *columns, *image, *matrix, *coupling;
  double *scratch, *coefficients, *tables;  // shared memory
  std::int64_t size, frontier, edge, next_fixed, products;

  __device__ Basis(const Problems& p, std::int64_t problem, double* scratch_)
      : n(p.n),
        words(p.words),
        block(p.block),
        capacity(p.capacity),
        eps(p.eps),
        bits(p.bits + problem * p.words * p.words * 64),
        scale(p.scale + problem * p.n),
        columns(p.columns + problem * (1 + p.capacity + 2 * p.block) * p.n),
        image(p.image + problem * p.block * p.n),
        matrix(p.matrix + problem * p.capacity * p.capacity),
        coupling(p.coupling + problem * p.block * p.block),
        scratch(scratch_),
        coefficients(cuda::dynamic_shared<double>()),
        tables(coefficients + (1 + p.capacity + 2 * p.block) * p.block) {
    const std::int64_t* counts = p.counts + problem * KrylovBatch::kCounts;
    size = counts[KrylovBatch::kSize];
    frontier = counts[KrylovBatch::kFrontier];
    edge = counts[KrylovBatch::kEdge];
    next_fixed = counts[KrylovBatch::kNextFixed];
    products = counts[KrylovBatch::kProducts];
  }

  __device__ void save(const Problems& p, std::int64_t problem) const {
    if (threadIdx.x != 0) return;
    std::int64_t* counts = p.counts + problem * KrylovBatch::kCounts;
    counts[KrylovBatch::kSize] = size;
    counts[KrylovBatch::kFrontier] = frontier;
    counts[KrylovBatch::kEdge] = edge;
    counts[KrylovBatch::kNextFixed] = next_fixed;
    counts[KrylovBatch::kProducts] = products;
  }

  __device__ double* column(std::int64_t i) const { return columns + (1 + i) * n; }
  __device__ std::int64_t all_columns() const { return 1 + size + frontier; }

  __device__ double sum(double value) const { return cuda::block_reduce(value, cuda::Sum(), 0.0, scratch); }

  __device__ double norm(const double* x) const {
    double square = 0;
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) square += x[i] * x[i];
    return ::sqrt(sum(square));
  }

  // y = D^(-1/2) W D^(-1/2) x for one vector. A table lookup adds four columns at once; the 16 entries of a table lie
  // in 16 different pairs of banks, so the lanes of a warp, which read one table, never wait for one another.
  __device__ void multiply(const double* x, double* y) const {
    double part = 0;
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) part += x[i] * scale[i];
    const double total = sum(part);
    for (std::int64_t first = 0; first < words; first += kChunkWords) {
      const std::int64_t count = words - first < kChunkWords ? words - first : kChunkWords;
      for (std::int64_t t = threadIdx.x; t < count * kWordTables * kEntries; t += blockDim.x) {
        const std::int64_t start = first * 64 + t / kEntries * 4;
        double entry = 0;
        for (int b = 0; b < 4; ++b)
          if ((t >> b & 1) != 0 && start + b < n) entry += x[start + b] * scale[start + b];
        tables[t] = entry;
      }
      __syncthreads();
      for (std::int64_t row = threadIdx.x; row < n; row += blockDim.x) {
        double value = first == 0 ? 0.0 : y[row];
        for (std::int64_t w = 0; w < count; ++w) {
          std::uint64_t word = bits[(row / 8 * words + first + w) * 8 + row % 8];
          const double* table = tables + w * kWordTables * kEntries;
#pragma unroll
          for (int t = 0; t < kWordTables; ++t, word >>= 4) value += table[t * kEntries + (word & 15)];
        }
        y[row] = first + count < words ? value : (eps * total + (1 - eps) * value) * scale[row];
      }
      __syncthreads();
    }
  }

  // out[j * count + c] = basis_c . x_j: a warp per column, two vectors at once.
  __device__ void dot_products(const double* basis, std::int64_t count, const double* x, std::int64_t vectors,
                               double* out) const {
    const int lane = threadIdx.x % kWarp;
    for (std::int64_t c = threadIdx.x / kWarp; c < count; c += blockDim.x / kWarp) {
      const double* column = basis + c * n;
      for (std::int64_t j = 0; j < vectors; j += 2) {
        const double *a = x + j * n, *b = j + 1 < vectors ? a + n : a;
        double with_a = 0, with_b = 0;
        for (std::int64_t i = lane; i < n; i += kWarp) {
          with_a += column[i] * a[i];
          with_b += column[i] * b[i];
        }
        with_a = cuda::warp_reduce(with_a, cuda::Sum());
        with_b = cuda::warp_reduce(with_b, cuda::Sum());
        if (lane == 0) {
          out[j * count + c] = with_a;
          if (j + 1 < vectors) out[(j + 1) * count + c] = with_b;
        }
      }
    }
    __syncthreads();
  }

  // x_j -= sum_c factors[j * count + c] * columns_c.
  __device__ void subtract_combination(std::int64_t count, const double* factors, double* x,
                                       std::int64_t vectors) const {
    for (std::int64_t j = 0; j < vectors; j += 2) {
      const bool both = j + 1 < vectors;
      const double *fa = factors + j * count, *fb = both ? fa + count : fa;
      double *a = x + j * n, *b = both ? a + n : a;
      for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        double va = a[i], vb = b[i];
#pragma unroll 4
        for (std::int64_t c = 0; c < count; ++c) {
          const double v = columns[c * n + i];
          va -= fa[c] * v;
          vb -= fb[c] * v;
        }
        a[i] = va;
        if (both) b[i] = vb;
      }
    }
    __syncthreads();
  }

  __device__ void divide(double* x, double by) const {
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) x[i] /= by;
    __syncthreads();
  }

  __device__ bool add_candidate() {
    double* candidate = column(size + frontier);
    double before = norm(candidate);
    for (int pass = 0; pass < 4 && before > kKrylovBreakdown; ++pass) {
      dot_products(columns, all_columns(), candidate, 1, coefficients);
      subtract_combination(all_columns(), coefficients, candidate, 1);
      const double after = norm(candidate);
      if (after <= kKrylovBreakdown) return false;
      divide(candidate, after);
      if (after > 0.5 * before) {
        ++frontier;
        return true;
      }
      before = 1;
    }
    return false;
  }

  __device__ void add_fixed_vector() {
    while (all_columns() < n) {
      double* candidate = column(size + frontier);
      for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x)
        candidate[i] = 2.0 * static_cast<double>(Generator::to_unit(Generator::word(
                                 0, static_cast<std::uint64_t>(next_fixed), static_cast<std::uint64_t>(i)))) -
                       1.0;
      ++next_fixed;
      __syncthreads();
      divide(candidate, norm(candidate));
      if (add_candidate()) return;
    }
  }

  __device__ void expand() {
    for (std::int64_t j = 0; j < frontier; ++j) multiply(column(size + j), image + j * n);
    products += frontier;
    const std::int64_t known = all_columns();
    edge = frontier;
    dot_products(columns, known, image, edge, coefficients);
    for (std::int64_t t = threadIdx.x; t < edge * (size + edge); t += blockDim.x) {
      const std::int64_t j = t / (size + edge), i = t % (size + edge);
      if (i > size + j) continue;
      const double h = coefficients[j * known + 1 + i];
      matrix[i * capacity + size + j] = h;
      matrix[(size + j) * capacity + i] = h;
    }
    subtract_combination(known, coefficients, image, edge);
    size += edge;
    frontier = 0;
    for (std::int64_t j = 0; j < edge && all_columns() < n; ++j) {
      double* candidate = column(size + frontier);
      for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) candidate[i] = image[j * n + i];
      __syncthreads();
      if (!add_candidate()) add_fixed_vector();
    }
    dot_products(column(size), frontier, image, edge, coupling);
  }

  // vectors[p] = sum_c factors[p * capacity + c] * basis_c.
  __device__ void combine(std::int64_t pairs, const double* factors, double* vectors) const {
    for (std::int64_t p = 0; p < pairs; ++p)
      for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        double value = 0;
        for (std::int64_t c = 0; c < size; ++c) value += factors[p * capacity + c] * column(c)[i];
        vectors[p * n + i] = value;
      }
    __syncthreads();
  }
};

__global__ void __launch_bounds__(kProblemThreads, 1) grow_kernel(Problems problems, const std::int64_t* targets) {
  __shared__ double scratch[kWarp];
  const std::int64_t target = targets[blockIdx.x];
  if (target == 0) return;
  Basis basis(problems, blockIdx.x, scratch);
  if (basis.size == 0)
    for (std::int64_t i = 0; i < basis.block; ++i) basis.add_fixed_vector();
  do basis.expand();
  while (basis.size < target && basis.frontier > 0 && basis.size + basis.frontier <= basis.capacity);
  basis.save(problems, blockIdx.x);
}

__global__ void __launch_bounds__(kProblemThreads, 1)
    restart_kernel(Problems problems, const std::int64_t* pairs, const double* values, const double* coefficients,
                   std::int64_t most, double* scratch_vectors) {
  __shared__ double scratch[kWarp];
  const std::int64_t kept = pairs[blockIdx.x];
  if (kept == 0) return;
  Basis basis(problems, blockIdx.x, scratch);
  double* vectors = scratch_vectors + blockIdx.x * most * basis.n;
  basis.combine(kept, coefficients + blockIdx.x * most * basis.capacity, vectors);
  for (std::int64_t i = threadIdx.x; i < basis.n; i += blockDim.x) {
    for (std::int64_t p = 0; p < kept; ++p) basis.column(p)[i] = vectors[p * basis.n + i];
    for (std::int64_t j = 0; j < basis.frontier; ++j) basis.column(kept + j)[i] = basis.column(basis.size + j)[i];
  }
  for (std::int64_t t = threadIdx.x; t < basis.capacity * basis.capacity; t += blockDim.x) {
    const std::int64_t row = t / basis.capacity, column = t % basis.capacity;
    basis.matrix[t] = row == column && row < kept ? values[blockIdx.x * most + row] : 0.0;
  }
  basis.size = kept;
  basis.save(problems, blockIdx.x);
}

__global__ void __launch_bounds__(kProblemThreads, 1)
    take_kernel(Problems problems, const std::int64_t* pairs, const double* values, const double* coefficients,
                std::int64_t most, double* all_vectors, double* residuals) {
  __shared__ double scratch[kWarp];
  const std::int64_t count = pairs[blockIdx.x];
  if (count == 0) return;
  const Basis basis(problems, blockIdx.x, scratch);
  double* vectors = all_vectors + blockIdx.x * most * basis.n;
  basis.combine(count, coefficients + blockIdx.x * most * basis.capacity, vectors);
  for (std::int64_t p = 0; p < count; ++p) {
    const double* x = vectors + p * basis.n;
    basis.multiply(x, basis.image);
    const double value = values[blockIdx.x * most + p];
    double square = 0;
    for (std::int64_t i = threadIdx.x; i < basis.n; i += blockDim.x) {
      const double difference = basis.image[i] - value * x[i];
      square += difference * difference;
    }
    square = basis.sum(square);
    if (threadIdx.x == 0) residuals[blockIdx.x * most + p] = ::sqrt(square);
  }
}

Problems problems_of(KrylovBatch& batch) {
  return {batch.n(),
          batch.bits.size(2),
          batch.block,
          batch.capacity,
          batch.eps,
          reinterpret_cast<const std::uint64_t*>(batch.bits.data<std::int64_t>()),
          batch.scale.data<double>(),
          batch.columns.mutable_data<double>(),
          batch.image.mutable_data<double>(),
          batch.matrix.mutable_data<double>(),
          batch.coupling.mutable_data<double>(),
          batch.counts.mutable_data<std::int64_t>()};
}

std::size_t shared_bytes(const KrylovBatch& batch) {
  const std::int64_t words = batch.bits.size(2), chunk = words < kChunkWords ? words : kChunkWords;
  const std::int64_t coefficients = (1 + batch.capacity + 2 * batch.block) * batch.block;
  return static_cast<std::size_t>(coefficients + chunk * kWordTables * kEntries) * sizeof(double);
}

void grow_cuda(KrylovBatch& batch, const Tensor& targets) {
  const Queue queue("krylov_grow", targets.device());
  queue.launch(grow_kernel, {batch.problems()}, kProblemThreads, shared_bytes(batch), problems_of(batch),
               targets.data<std::int64_t>());
}

void restart_cuda(KrylovBatch& batch, const Tensor& pairs, const Tensor& values, const Tensor& coefficients,
                  Tensor& scratch) {
  const Queue queue("krylov_restart", pairs.device());
  queue.launch(restart_kernel, {batch.problems()}, kProblemThreads, shared_bytes(batch), problems_of(batch),
               pairs.data<std::int64_t>(), values.data<double>(), coefficients.data<double>(), values.size(1),
               scratch.mutable_data<double>());
}

void take_cuda(KrylovBatch& batch, const Tensor& pairs, const Tensor& values, const Tensor& coefficients,
               Tensor& vectors, Tensor& residuals) {
  const Queue queue("krylov_take", pairs.device());
  queue.launch(take_kernel, {batch.problems()}, kProblemThreads, shared_bytes(batch), problems_of(batch),
               pairs.data<std::int64_t>(), values.data<double>(), coefficients.data<double>(), values.size(1),
               vectors.mutable_data<double>(), residuals.mutable_data<double>());
}

const Register r_grow(krylov_grow_kernel, DeviceType::kCuda, grow_cuda);
const Register r_restart(krylov_restart_kernel, DeviceType::kCuda, restart_cuda);
const Register r_take(krylov_take_kernel, DeviceType::kCuda, take_cuda);

}  // namespace
}  // namespace usol::maskcut
