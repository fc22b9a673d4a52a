#include "usol/ops/onednn.h"

#if defined(USOL_WITH_ONEDNN)

#include <fmt/format.h>

#include <map>
#include <unordered_map>

#include "usol/ops/onednn_engine.h"
#include "usol/tensor/error.h"
#include "usol/tensor/thread_share.h"

namespace usol {
namespace {

using dnnl::memory;
using onednn::engine;
using onednn::stream;

struct MatmulKey {
  bool transpose_a, transpose_b;
  std::int64_t m, n, k, lda, ldb, ldc;
  bool accumulate, bias;
  Activation activation;
  memory::data_type type;
  int threads = library_threads();  // that the primitive cuts its work for
  auto operator<=>(const MatmulKey&) const = default;
};

// A vector whose elements lie one after another is described as a dense matrix, whichever way its caller puts it: from
// the stride of a dimension of size 1, which means nothing, oneDNN would guess whether the matrix is transposed.
memory::desc matrix(std::int64_t rows, std::int64_t cols, std::int64_t ld, bool transposed, memory::data_type type) {
  const std::int64_t step = rows == 1 ? (transposed ? ld : 1) : (transposed ? 1 : ld);  // between elements of a vector
  if ((rows == 1 && cols == 1) || ((rows == 1 || cols == 1) && step == 1))
    return memory::desc({rows, cols}, type, memory::dims{cols, 1});
  return memory::desc({rows, cols}, type, transposed ? memory::dims{1, ld} : memory::dims{ld, 1});
}

dnnl::matmul make_matmul(const MatmulKey& key) {
  dnnl::post_ops post;
  if (key.accumulate) post.append_sum(1.0f);
  if (key.activation == Activation::kRelu) onednn::append_eltwise(post, dnnl::algorithm::eltwise_relu);
  if (key.activation == Activation::kGelu) onednn::append_eltwise(post, dnnl::algorithm::eltwise_gelu_erf);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(post);
  const memory::desc a = matrix(key.m, key.k, key.lda, key.transpose_a, key.type);
  const memory::desc b = matrix(key.k, key.n, key.ldb, key.transpose_b, key.type);
  const memory::desc c = matrix(key.m, key.n, key.ldc, false, key.type);
  const memory::desc bias({1, key.n}, key.type, memory::dims{key.n, 1});
#if DNNL_VERSION_MAJOR >= 3
  const auto primitive = key.bias ? dnnl::matmul::primitive_desc(engine(), a, b, bias, c, attributes)
                                  : dnnl::matmul::primitive_desc(engine(), a, b, c, attributes);
#else
  const auto primitive = key.bias
                             ? dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, bias, c), attributes, engine())
                             : dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attributes, engine());
#endif
  return dnnl::matmul(primitive);
}

// Per thread, so that no lock is needed. A model has a few dozen shapes; a cache that grows past that starts anew.
dnnl::matmul& cached_matmul(const MatmulKey& key) {
  constexpr std::size_t kMostShapes = 256;
  thread_local std::map<MatmulKey, dnnl::matmul> cache;
  if (const auto found = cache.find(key); found != cache.end()) return found->second;
  if (cache.size() >= kMostShapes) cache.clear();
  return cache.emplace(key, make_matmul(key)).first->second;
}

template <class T>
void run(const Gemm<T>& g, memory::data_type type) {
  try {
    const MatmulKey key{g.transpose_a, g.transpose_b,     g.m,          g.n, g.k, g.lda, g.ldb, g.ldc,
                        g.accumulate,  g.bias != nullptr, g.activation, type};
    dnnl::matmul& matmul = cached_matmul(key);
    const auto wrap = [&](const memory::desc& desc, const T* data) {
      return memory(desc, engine(), const_cast<T*>(data));
    };
    std::unordered_map<int, memory> arguments{
        {DNNL_ARG_SRC, wrap(matrix(g.m, g.k, g.lda, g.transpose_a, type), g.a)},
        {DNNL_ARG_WEIGHTS, wrap(matrix(g.k, g.n, g.ldb, g.transpose_b, type), g.b)},
        {DNNL_ARG_DST, wrap(matrix(g.m, g.n, g.ldc, false, type), g.c)}};
    if (g.bias) arguments.insert({DNNL_ARG_BIAS, wrap(memory::desc({1, g.n}, type, memory::dims{g.n, 1}), g.bias)});
    matmul.execute(stream(), arguments);
    stream().wait();
  } catch (const dnnl::error& e) {
    fail(ErrorKind::kDevice, fmt::format("gemm: oneDNN failed for {} x {} x {}: {}", g.m, g.n, g.k, e.what()));
  }
}

}  // namespace

void onednn_gemm(const Gemm<float>& g) { run(g, memory::data_type::f32); }
void onednn_gemm(const Gemm<bf16>& g) { run(g, memory::data_type::bf16); }

}  // namespace usol

#endif
