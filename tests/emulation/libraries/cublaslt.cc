// cuBLASLt for the emulated device: the library itself holds the descriptors, which need no device; what was set is
// read back from it, checked against what its manual allows, and computed in plain loops. The linker puts these
// functions in the place of the library's (--wrap). Source: NVIDIA cuBLAS 13 manual, "Using the cuBLASLt API".

#include <cublasLt.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/emulation/libraries/libraries.h"
#include "tests/emulation/libraries/operand.h"
#include "tests/emulation/libraries/workspace.h"

namespace {

using emulation::Operand;
using usol::DType;

struct Matrix {  // columns of `rows` elements, `leading` apart
  std::int32_t type = 0, order = 0, batch = 1;
  std::uint64_t rows = 0, columns = 0;
  std::int64_t leading = 0, stride = 0;
  bool operator==(const Matrix&) const = default;
};
struct Product {
  std::int32_t compute = 0, scale = 0, pointer_mode = 0, op_a = 0, op_b = 0, op_c = 0, bias_type = -1;
  std::uint32_t epilogue = 0;
  std::int64_t bias_stride = 0;
  bool operator==(const Product&) const = default;
};
struct Problem {
  Product product;
  Matrix a, b, c, d;
  bool operator==(const Problem&) const = default;
};
// What an algorithm was chosen for. cublasLtMatmulAlgo_t holds its number.
struct Chosen {
  Problem problem;
  std::array<std::uint32_t, 4> alignment{};  // bytes, of A, B, C, D
  std::size_t workspace = 0;
};

std::mutex mutex;
std::vector<Chosen> algorithms;
std::atomic<int> runs = 0;

Matrix read(cublasLtMatrixLayout_t layout) {
  Matrix m;
  const auto get = [&](cublasLtMatrixLayoutAttribute_t attribute, auto& value) {
    std::size_t written = 0;
    cublasLtMatrixLayoutGetAttribute(layout, attribute, &value, sizeof(value), &written);
  };
  get(CUBLASLT_MATRIX_LAYOUT_TYPE, m.type);
  get(CUBLASLT_MATRIX_LAYOUT_ORDER, m.order);
  get(CUBLASLT_MATRIX_LAYOUT_ROWS, m.rows);
  get(CUBLASLT_MATRIX_LAYOUT_COLS, m.columns);
  get(CUBLASLT_MATRIX_LAYOUT_LD, m.leading);
  get(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, m.batch);
  get(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, m.stride);
  return m;
}

template <class T>
void get(cublasLtMatmulDesc_t product, cublasLtMatmulDescAttributes_t attribute, T& value) {
  std::size_t written = 0;
  cublasLtMatmulDescGetAttribute(product, attribute, &value, sizeof(value), &written);
}
Product read(cublasLtMatmulDesc_t product) {
  Product p;
  get(product, CUBLASLT_MATMUL_DESC_COMPUTE_TYPE, p.compute);
  get(product, CUBLASLT_MATMUL_DESC_SCALE_TYPE, p.scale);
  get(product, CUBLASLT_MATMUL_DESC_POINTER_MODE, p.pointer_mode);
  get(product, CUBLASLT_MATMUL_DESC_TRANSA, p.op_a);
  get(product, CUBLASLT_MATMUL_DESC_TRANSB, p.op_b);
  get(product, CUBLASLT_MATMUL_DESC_TRANSC, p.op_c);
  get(product, CUBLASLT_MATMUL_DESC_EPILOGUE, p.epilogue);
  get(product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, p.bias_type);
  get(product, CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, p.bias_stride);
  return p;
}

bool has_bias(const Product& p) { return p.epilogue != CUBLASLT_EPILOGUE_DEFAULT; }

std::optional<DType> dtype_of(std::int32_t type) {
  switch (type) {
    case CUDA_R_32F:
      return DType::kF32;
    case CUDA_R_16F:
      return DType::kF16;
    case CUDA_R_16BF:
      return DType::kBF16;
    case CUDA_R_64F:
      return DType::kF64;
    default:
      return std::nullopt;
  }
}

// The manual's table of types.
bool types_go_together(const Problem& p) {
  const Product& o = p.product;
  if (p.a.type != p.b.type || p.a.type != p.c.type || p.c.type != p.d.type || !dtype_of(p.a.type)) return false;
  if (has_bias(o) && o.bias_type != p.d.type) return false;
  switch (o.compute) {
    case CUBLAS_COMPUTE_64F:
      return o.scale == CUDA_R_64F && p.a.type == CUDA_R_64F && !has_bias(o);
    case CUBLAS_COMPUTE_32F_FAST_TF32:
      return o.scale == CUDA_R_32F && p.a.type == CUDA_R_32F;
    case CUBLAS_COMPUTE_32F:
      return o.scale == CUDA_R_32F && p.a.type != CUDA_R_64F;
    default:
      return false;
  }
}

struct Sizes {
  std::int64_t m, n, k;
};
Sizes sizes_of(const Problem& p) {
  const auto rows = static_cast<std::int64_t>(p.d.rows), columns = static_cast<std::int64_t>(p.d.columns);
  return {rows, columns, static_cast<std::int64_t>(p.product.op_a == CUBLAS_OP_N ? p.a.columns : p.a.rows)};
}

std::string fault_of(const Problem& p) {
  const Product& o = p.product;
  if (!types_go_together(p)) return "types that do not go together";
  if (o.pointer_mode != CUBLASLT_POINTER_MODE_HOST || o.op_c != CUBLAS_OP_N)
    return "a pointer mode or op(C) of no product";
  for (const std::int32_t op : {o.op_a, o.op_b})
    if (op != CUBLAS_OP_N && op != CUBLAS_OP_T) return "neither transposed nor not";
  if (o.epilogue != CUBLASLT_EPILOGUE_DEFAULT && o.epilogue != CUBLASLT_EPILOGUE_BIAS &&
      o.epilogue != CUBLASLT_EPILOGUE_RELU_BIAS && o.epilogue != CUBLASLT_EPILOGUE_GELU_BIAS)
    return "an epilogue that is not interpreted";
  for (const Matrix* m : {&p.a, &p.b, &p.c, &p.d}) {
    if (m->order != CUBLASLT_ORDER_COL || m->leading < static_cast<std::int64_t>(m->rows))
      return "columns that overlap";
    if (m->batch != p.d.batch || m->batch < 1) return "different numbers of matrices";
  }
  const auto shape = [](const Matrix& m, std::int32_t op) {
    return op == CUBLAS_OP_N ? std::pair(m.rows, m.columns) : std::pair(m.columns, m.rows);
  };
  const auto [m, k] = shape(p.a, o.op_a);
  const auto [k_of_b, n] = shape(p.b, o.op_b);
  if (m != p.d.rows || n != p.d.columns || k != k_of_b || p.c.rows != p.d.rows || p.c.columns != p.d.columns)
    return "sizes that do not fit";
  return {};
}

Operand operand(const char* name, const void* data, const Matrix& m) {
  return {name,
          const_cast<void*>(data),
          *dtype_of(m.type),
          {m.batch, static_cast<std::int64_t>(m.columns), static_cast<std::int64_t>(m.rows)},
          {m.stride, m.leading, 1}};
}

template <class A>
A activated(std::uint32_t epilogue, A x) {
  if (epilogue == CUBLASLT_EPILOGUE_RELU_BIAS) return x > 0 ? x : A(0);
  if (epilogue == CUBLASLT_EPILOGUE_GELU_BIAS)
    return A(0.5) * x * (A(1) + std::tanh(A(0.7978845608028654) * (x + A(0.044715) * x * x * x)));
  return x;
}

struct Call {
  Problem problem;
  Operand a, b, c, d;
  std::optional<Operand> bias;
  double alpha = 1, beta = 0;
};

// [batch][outer][inner] -> [batch][inner][outer]
template <class A>
std::vector<A> transposed(const std::vector<A>& from, std::int64_t batch, std::int64_t outer, std::int64_t inner) {
  std::vector<A> to(from.size());
  for (std::int64_t x = 0; x < batch; ++x)
    for (std::int64_t i = 0; i < outer; ++i)
      for (std::int64_t j = 0; j < inner; ++j) to[(x * inner + j) * outer + i] = from[(x * outer + i) * inner + j];
  return to;
}

template <class A>
void compute(const Call& call) {
  const auto [m, n, k] = sizes_of(call.problem);
  const Product& o = call.problem.product;
  const std::int64_t batch = call.problem.d.batch;
  std::vector<A> a = emulation::load<A>(call.a), b = emulation::load<A>(call.b);
  if (o.op_a != CUBLAS_OP_N) a = transposed(a, batch, m, k);  // now [batch][k][m]
  if (o.op_b == CUBLAS_OP_N) b = transposed(b, batch, n, k);  // now [batch][k][n]
  if (o.compute == CUBLAS_COMPUTE_32F_FAST_TF32)
    for (auto* values : {&a, &b})
      for (A& x : *values) x = static_cast<A>(emulation::to_tf32(static_cast<float>(x)));
  std::vector<A> d(static_cast<std::size_t>(batch * n * m), A(0));
  for (std::int64_t x = 0; x < batch; ++x)
    for (std::int64_t j = 0; j < n; ++j) {
      A* column = d.data() + (x * n + j) * m;
      for (std::int64_t l = 0; l < k; ++l) {
        const A factor = b[(x * k + l) * n + j];
        const A* from = a.data() + (x * k + l) * m;
        for (std::int64_t i = 0; i < m; ++i) column[i] += from[i] * factor;
      }
    }
  const std::vector<A> c = call.beta == 0 ? std::vector<A>{} : emulation::load<A>(call.c);
  const std::vector<A> bias = call.bias ? emulation::load<A>(*call.bias) : std::vector<A>{};
  for (std::int64_t i = 0; i < batch * n * m; ++i) {
    A value = A(call.alpha) * d[i];
    if (!c.empty()) value += A(call.beta) * c[i];
    if (!bias.empty()) value += bias[i % m];
    d[i] = activated(o.epilogue, value);
  }
  emulation::store(d, call.d);
}

cublasStatus_t refused(const char* call, const std::string& fault) {
  emulation::report(call, fault);
  return CUBLAS_STATUS_INVALID_VALUE;
}

}  // namespace

namespace emulation {
int blas_runs() { return runs; }
}  // namespace emulation

struct cublasLtContext {
  bool alive = true;
};

extern "C" {

cublasStatus_t __wrap_cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t __wrap_cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t __wrap_cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t product,
                                                     cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                                     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                                     cublasLtMatmulPreference_t preference, int wanted,
                                                     cublasLtMatmulHeuristicResult_t* results, int* found) {
  Chosen chosen{{read(product), read(a), read(b), read(c), read(d)}};
  *found = 0;
  if (const std::string fault = fault_of(chosen.problem); !fault.empty()) {
    emulation::report("cublasLtMatmulAlgoGetHeuristic", fault);
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  const auto get = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto& value) {
    std::size_t written = 0;
    cublasLtMatmulPreferenceGetAttribute(preference, attribute, &value, sizeof(value), &written);
  };
  get(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, chosen.alignment[0]);
  get(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, chosen.alignment[1]);
  get(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, chosen.alignment[2]);
  get(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, chosen.alignment[3]);
  get(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, chosen.workspace);
  constexpr std::size_t kMost = 1 << 12;  // of what is allowed; poisoning takes time
  chosen.workspace = std::min(chosen.workspace, kMost);
  if (wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
  const std::lock_guard lock(mutex);
  results[0] = {};
  results[0].algo.data[0] = algorithms.size();
  results[0].workspaceSize = chosen.workspace;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  algorithms.push_back(chosen);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t __wrap_cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product, const void* alpha,
                                     const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                                     cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                                     cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                                     const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                                     std::size_t workspace_bytes, cudaStream_t stream) {
  constexpr const char* kName = "cublasLtMatmul";
  if (handle == nullptr || !handle->alive) return refused(kName, "no handle");
  const Problem problem{read(product), read(a_layout), read(b_layout), read(c_layout), read(d_layout)};
  const Chosen chosen = [&] {
    const std::lock_guard lock(mutex);
    return algorithms.at(algorithm->data[0]);
  }();
  if (chosen.problem != problem) return refused(kName, "the algorithm was chosen for another product");
  if (const std::string fault = fault_of(problem); !fault.empty()) return refused(kName, fault);

  Call call{problem,
            operand("A", a, problem.a),
            operand("B", b, problem.b),
            operand("C", c, problem.c),
            operand("D", d, problem.d),
            {}};
  const bool f64 = problem.product.scale == CUDA_R_64F;
  call.alpha = f64 ? *static_cast<const double*>(alpha) : *static_cast<const float*>(alpha);
  call.beta = f64 ? *static_cast<const double*>(beta) : *static_cast<const float*>(beta);
  std::vector<Operand> operands{call.a, call.b, call.c};
  if (has_bias(problem.product)) {
    Operand bias{"bias", nullptr, *dtype_of(problem.product.bias_type), {call.d.dims[2]}, {1}};
    get(product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.data);
    if (reinterpret_cast<std::uintptr_t>(bias.data) % chosen.alignment[3] != 0)
      return refused(kName, "bias: alignment");
    operands.push_back(bias);
    call.bias = bias;
  }
  operands.push_back(call.d);
  if (const std::string fault = emulation::fault_of(operands); !fault.empty()) return refused(kName, fault);
  const std::array matrices{&call.a, &call.b, &call.c, &call.d};
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(matrices[i]->data);  // of all matrices of a batch
    if (problem.d.batch > 1)
      bits |= static_cast<std::uintptr_t>(matrices[i]->strides[0]) * usol::size_of(matrices[i]->dtype);
    if (bits % chosen.alignment[i] != 0)
      return refused(kName, fmt::format("{} is not aligned to {} bytes", "ABCD"[i], chosen.alignment[i]));
  }
  const emulation::LibraryWorkspace work{workspace, workspace_bytes, chosen.workspace};
  if (const std::string fault = work.fault(); !fault.empty()) return refused(kName, fault);

  ++runs;
  emulation::submit(stream, [call, work, f64] {
    if (const cudaError_t status = work.poison(); status != cudaSuccess) return status;
    f64 ? compute<double>(call) : compute<float>(call);
    return cudaSuccess;
  });
  return CUBLAS_STATUS_SUCCESS;
}
}
