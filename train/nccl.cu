// Sums of gradients between GPUs by NCCL: each is queued on a stream of its own behind an event of the stream that made
// the tensor, so that backward goes on meanwhile. Source: NCCL's user guide, "Fault tolerance" for lost ranks.
// Left out where NCCL was not found.
#ifdef USOL_WITH_NCCL

#include <nccl.h>

#include <chrono>
#include <cstring>
#include <exception>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "usol/tensor/cuda/check.h"
#include "usol/tensor/stream.h"
#include "usol/train/device_sums.h"

namespace usol::train {
namespace {

// `group` null: of no group yet.
void check_nccl(ncclResult_t result, ncclComm_t group, const char* expression, int line) {
  if (result == ncclSuccess) return;
  cuda::fail_status(ErrorKind::kDevice, "NCCL", ncclGetErrorString(result), ncclGetLastError(group), expression,
                    __FILE__, line);
}
#define USOL_NCCL_CHECK(group, expression) check_nccl((expression), group, #expression, __LINE__)

using CudaEvent = std::unique_ptr<CUevent_st, decltype(&cudaEventDestroy)>;

CudaEvent record(cudaStream_t stream) {
  cudaEvent_t event = nullptr;
  USOL_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  CudaEvent owner(event, &cudaEventDestroy);
  USOL_CUDA_CHECK(cudaEventRecord(event, stream));
  return owner;
}

class NcclSums : public DeviceSums {
 public:
  NcclSums(const std::string& id, int rank, int size, const Device& device)
      : device_(device), stream_(Stream::create(device)), exceptions_(std::uncaught_exceptions()) {
    const cuda::DeviceScope scope(device.index);
    ncclUniqueId unique;
    std::memcpy(&unique, id.data(), sizeof(unique));
    USOL_NCCL_CHECK(nullptr, ncclCommInitRank(&group_, size, unique, rank));
  }
  ~NcclSums() override {
    if (!group_) return;
    if (std::uncaught_exceptions() == exceptions_)
      ncclCommDestroy(group_);
    else
      ncclCommAbort(group_);
  }
  NcclSums(const NcclSums&) = delete;
  NcclSums& operator=(const NcclSums&) = delete;

  std::future<void> start(Tensor tensor) override {
    if (!group_)
      cuda::fail_status(ErrorKind::kDevice, "NCCL", "nothing", "the group was left after an earlier failure",
                        "ncclAllReduce", __FILE__, __LINE__);
    const cuda::DeviceScope scope(device_.index);
    const auto stream = static_cast<cudaStream_t>(stream_.handle());
    const CudaEvent ready = record(cuda::current_stream(device_.index));
    USOL_CUDA_CHECK(cudaStreamWaitEvent(stream, ready.get(), 0));
    const bool single = tensor.dtype() == DType::kF32;
    void* values = single ? static_cast<void*>(tensor.mutable_data<float>()) : tensor.mutable_data<double>();
    const auto count = static_cast<std::size_t>(tensor.numel());
    const ncclDataType_t type = single ? ncclFloat32 : ncclFloat64;
    USOL_NCCL_CHECK(group_, ncclAllReduce(values, values, count, type, ncclSum, group_, stream));
    return std::async(std::launch::deferred, [this, tensor, done = record(stream)] { wait(done.get()); });
  }

 private:
  // A rank that is lost leaves the others' kernels waiting for ever, so the host asks for errors meanwhile.
  void wait(cudaEvent_t done) {
    const cuda::DeviceScope scope(device_.index);
    for (;;) {
      const cudaError_t state = cudaEventQuery(done);
      if (state == cudaSuccess) break;
      if (state != cudaErrorNotReady) USOL_CUDA_CHECK(state);
      ncclResult_t error = ncclSuccess;
      USOL_NCCL_CHECK(group_, ncclCommGetAsyncError(group_, &error));
      if (error != ncclSuccess && error != ncclInProgress) {
        const std::string text = ncclGetLastError(group_);
        ncclCommAbort(std::exchange(group_, nullptr));
        cuda::fail_status(ErrorKind::kDevice, "NCCL", ncclGetErrorString(error), text.c_str(), "ncclAllReduce",
                          __FILE__, __LINE__);
      }
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    USOL_CUDA_CHECK(cudaStreamWaitEvent(cuda::current_stream(device_.index), done, 0));
  }

  Device device_;
  Stream stream_;
  int exceptions_;
  ncclComm_t group_ = nullptr;
};

std::string name() {
  int version = 0;
  USOL_NCCL_CHECK(nullptr, ncclGetVersion(&version));
  return "NCCL " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

std::string make_id() {
  ncclUniqueId unique;
  USOL_NCCL_CHECK(nullptr, ncclGetUniqueId(&unique));
  return std::string(unique.internal, sizeof(unique.internal));
}

std::unique_ptr<DeviceSums> join(const std::string& id, int rank, int size, const Device& device) {
  return std::make_unique<NcclSums>(id, rank, size, device);
}

constexpr DeviceSumsLibrary kNccl{&name, &make_id, &join};
[[maybe_unused]] const bool registered = (set_device_sums_library(&kNccl), true);

}  // namespace
}  // namespace usol::train

#endif  // USOL_WITH_NCCL
