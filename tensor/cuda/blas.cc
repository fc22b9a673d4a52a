#include "usol/tensor/cuda/blas.h"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "usol/tensor/cuda/handles.h"
#include "usol/tensor/precision.h"

namespace usol::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // NVIDIA's advice for Hopper

// A cuBLASLt descriptor of any kind, destroyed with its own function.
template <class Handle, cublasStatus_t (*destroy)(Handle)>
class Descriptor {
 public:
  Descriptor() = default;
  ~Descriptor() {
    if (handle_ != nullptr) destroy(handle_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Handle* out() { return &handle_; }
  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};
using ProductDescriptor = Descriptor<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using LayoutDescriptor = Descriptor<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using PreferenceDescriptor = Descriptor<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return CUDA_R_32F;
    case DType::kF16:
      return CUDA_R_16F;
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kF64:
      return CUDA_R_64F;
    default:
      fail(ErrorKind::kInvalidArgument, "blas: not a floating dtype");
  }
}

cublasLtEpilogue_t epilogue_of(BlasEpilogue epilogue) {
  switch (epilogue) {
    case BlasEpilogue::kNone:
      return CUBLASLT_EPILOGUE_DEFAULT;
    case BlasEpilogue::kBias:
      return CUBLASLT_EPILOGUE_BIAS;
    case BlasEpilogue::kBiasRelu:
      return CUBLASLT_EPILOGUE_RELU_BIAS;
    case BlasEpilogue::kBiasGeluTanh:
      return CUBLASLT_EPILOGUE_GELU_BIAS;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
}

template <class T>
void set(cublasLtMatmulDesc_t descriptor, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  USOL_CUDA_CHECK(cublasLtMatmulDescSetAttribute(descriptor, attribute, &value, sizeof(value)));
}
template <class T>
void set(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
  USOL_CUDA_CHECK(cublasLtMatrixLayoutSetAttribute(layout, attribute, &value, sizeof(value)));
}
template <class T>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
  USOL_CUDA_CHECK(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)));
}

void make_layout(LayoutDescriptor& layout, const BlasProduct& p, std::int64_t rows, std::int64_t cols,
                 std::int64_t leading, std::int64_t stride) {
  USOL_CUDA_CHECK(cublasLtMatrixLayoutCreate(layout.out(), type_of(p.dtype), static_cast<std::uint64_t>(rows),
                                             static_cast<std::uint64_t>(cols), leading));
  if (p.batch == 1) return;
  set(layout.get(), CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(p.batch));
  set(layout.get(), CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, stride);
}

// The largest power of two up to 256 that divides the address of every matrix of a batch: algorithms are chosen for it.
std::uint32_t alignment_of(const void* data, std::int64_t stride_elements, std::size_t element, std::int64_t batch) {
  std::uint64_t bits = reinterpret_cast<std::uintptr_t>(data) | 256;
  if (batch > 1) bits |= static_cast<std::uint64_t>(stride_elements) * element;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

// What the choice of an algorithm depends on. Never on timing: the same product takes the same algorithm in every run.
using Key = std::array<std::int64_t, 21>;

}  // namespace

void blas_product(const Queue& queue, const BlasProduct& p) {
  if (p.batch > INT32_MAX || p.m > INT32_MAX || p.n > INT32_MAX || p.k > INT32_MAX)
    fail(ErrorKind::kUnsupported, std::string(queue.op()) + ": a size above 2^31 in a product");
  const std::size_t element = size_of(p.dtype);
  Handles& handles = Handles::of(queue);
  const bool tf32 = p.dtype == DType::kF32 && tf32_allowed();
  const bool f64 = p.dtype == DType::kF64;

  // cuBLASLt thinks in columns: a row-major C = A B is C' = B' A' there, so B comes first.
  ProductDescriptor product;
  const cublasComputeType_t compute = f64    ? CUBLAS_COMPUTE_64F
                                      : tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                             : CUBLAS_COMPUTE_32F;
  USOL_CUDA_CHECK(cublasLtMatmulDescCreate(product.out(), compute, f64 ? CUDA_R_64F : CUDA_R_32F));
  set(product.get(), CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(product.get(), CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(product.get(), CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(p.epilogue));
  if (p.epilogue != BlasEpilogue::kNone) {
    if (f64 || p.bias == nullptr) fail(ErrorKind::kInvalidArgument, "blas: an epilogue wants a bias, and not f64");
    set(product.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    set(product.get(), CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<std::int32_t>(type_of(p.dtype)));
  }
  LayoutDescriptor a, b, c;
  make_layout(b, p, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.ldb, p.stride_b);
  make_layout(a, p, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.lda, p.stride_a);
  make_layout(c, p, p.n, p.m, p.ldc, p.stride_c);

  const std::uint32_t align_a = alignment_of(p.a, p.stride_a, element, p.batch),
                      align_b = alignment_of(p.b, p.stride_b, element, p.batch),
                      align_c = alignment_of(p.c, p.stride_c, element, p.batch),
                      align_bias = p.bias == nullptr ? 256 : alignment_of(p.bias, 0, element, 1),
                      align_d = std::min(align_c, align_bias);  // the epilogue reads the bias as it writes D
  const Key key{queue.device(),
                static_cast<int>(p.dtype),
                p.transpose_a,
                p.transpose_b,
                p.m,
                p.n,
                p.k,
                p.lda,
                p.ldb,
                p.ldc,
                p.batch,
                p.stride_a,
                p.stride_b,
                p.stride_c,
                p.accumulate,
                static_cast<int>(p.epilogue),
                tf32,
                align_a,
                align_b,
                align_c,
                align_d};
  thread_local std::map<Key, cublasLtMatmulAlgo_t> chosen;
  auto found = chosen.find(key);
  if (found == chosen.end()) {
    PreferenceDescriptor preference;
    USOL_CUDA_CHECK(cublasLtMatmulPreferenceCreate(preference.out()));
    set(preference.get(), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
    set(preference.get(), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_b);
    set(preference.get(), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_a);
    set(preference.get(), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, align_c);
    set(preference.get(), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, align_d);
    cublasLtMatmulHeuristicResult_t result{};
    int results = 0;
    USOL_CUDA_CHECK(cublasLtMatmulAlgoGetHeuristic(handles.blas(), product.get(), b.get(), a.get(), c.get(), c.get(),
                                                   preference.get(), 1, &result, &results));
    if (results == 0)
      fail(ErrorKind::kUnsupported, std::string(queue.op()) + ": cuBLASLt has no algorithm for this product");
    found = chosen.emplace(key, result.algo).first;
  }
  const float one_f = 1, beta_f = p.accumulate ? 1 : 0;
  const double one_d = 1, beta_d = p.accumulate ? 1 : 0;
  const void* alpha = f64 ? static_cast<const void*>(&one_d) : &one_f;
  const void* beta = f64 ? static_cast<const void*>(&beta_d) : &beta_f;
  USOL_CUDA_CHECK(cublasLtMatmul(
      handles.blas(), product.get(), alpha, p.b, b.get(), p.a, a.get(), beta, p.c, c.get(), p.c, c.get(),
      &found->second, handles.workspace().reserve(kWorkspaceBytes, queue.stream()), kWorkspaceBytes, queue.stream()));
  check_launch(cudaSuccess, queue.op(), nullptr, queue.stream());
}

}  // namespace usol::cuda
