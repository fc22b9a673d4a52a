#include "usol/pipeline/version.h"

#include "usol/ops/gemm.h"
#include "usol/tensor/device_count.h"
#include "usol/train/device_sums.h"
#include "usol/train/distributed.h"

namespace usol {

std::string_view version() { return USOL_VERSION; }

std::string built_with() {
  std::string text;
  const auto add = [&](bool there, const std::string& name) {
    if (there) text += (text.empty() ? "" : ", ") + name;
  };
  add(has_backend(GemmBackend::kOneDnn), "oneDNN");
#ifdef USOL_WITH_LIBJPEG
  add(true, "libjpeg");
#endif
  add(train::has_mpi(), "MPI");
  add(is_linked(DeviceType::kCuda), "CUDA");
  if (const train::DeviceSumsLibrary* library = train::device_sums_library()) add(true, library->name());
  return text.empty() ? "none of the optional libraries" : text;
}

}  // namespace usol
