#include "usol/pipeline/precision.h"

#include "usol/ops/gemm.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

bool cpu_multiplies_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") > 0;
#else
  return false;
#endif
}

}  // namespace

DType precision_on(const Device& device, const std::string& name, bool trains) {
  if (name == "f32") return DType::kF32;
  if (name == "auto") {
    const bool has_bf16 = device.is_cuda() || (!trains && has_backend(GemmBackend::kOneDnn) && cpu_multiplies_bf16());
    return has_bf16 ? DType::kBF16 : DType::kF32;
  }
  if (device.is_cuda()) {
    check(name != "tf32", ErrorKind::kUnsupported, "precision tf32: this build's CUDA products have no TF32 mode");
    return name == "bf16" ? DType::kBF16 : DType::kF16;
  }
  check(name == "bf16", ErrorKind::kUnsupported, "precision {}: CPUs compute in f32 or bf16", name);
  check(has_backend(GemmBackend::kOneDnn), ErrorKind::kUnsupported,
        "precision bf16: this build is without oneDNN, which multiplies bf16 on CPUs");
  check(cpu_multiplies_bf16(), ErrorKind::kUnsupported, "precision bf16: this CPU has no AVX512-BF16");
  return DType::kBF16;
}

}  // namespace usol
