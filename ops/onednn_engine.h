#pragma once
// The engine and streams that oneDNN's primitives run on, and what its two API versions call differently. For
// ops/onednn*.cc only.

#include <oneapi/dnnl/dnnl.hpp>

namespace usol::onednn {

inline const dnnl::engine& engine() {
  static const dnnl::engine value(dnnl::engine::kind::cpu, 0);
  return value;
}

/// A stream per thread: oneDNN's CPU streams are cheap and not to be shared.
inline dnnl::stream& stream() {
  thread_local dnnl::stream value(engine());
  return value;
}

inline void append_eltwise(dnnl::post_ops& post, dnnl::algorithm algorithm) {
#if DNNL_VERSION_MAJOR >= 3
  post.append_eltwise(algorithm, 0, 0);
#else
  post.append_eltwise(1.0f, algorithm, 0, 0);
#endif
}

}  // namespace usol::onednn
