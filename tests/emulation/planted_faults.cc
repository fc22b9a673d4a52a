// Faults that a GPU would have, planted: the emulation must find each, must find nothing where the fault is mended, and
// must find none of them when it does everything at once and in order, which shows that laziness is what finds them.

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <vector>

#include "tests/emulation/schedule.h"
#include "usol/tensor/cuda/check.h"
#include "usol/tensor/cuda/device.cuh"
#include "usol/tensor/cuda/launch.h"
#include "usol/tensor/ready.h"
#include "usol/tensor/stream.h"
#include "usol/tensor/tensor.h"

namespace usol {
namespace {

constexpr int kSeeds = 8;
constexpr int kThreads = 64;

// One way to order the device's work after the other; the old one is restored.
class Schedules {
 public:
  ~Schedules() { emulation::set_schedule(before_); }
  // In how many of the seeds `fault_shows` is true.
  template <class Trial>
  int count(Trial&& fault_shows) {
    int shown = 0;
    for (int seed = 0; seed < kSeeds; ++seed) {
      emulation::set_schedule({static_cast<std::uint64_t>(seed), true});
      if (fault_shows()) ++shown;
    }
    return shown;
  }
  template <class Trial>
  bool in_order(Trial&& fault_shows) {
    emulation::set_schedule({0, false});
    return fault_shows();
  }

 private:
  emulation::Schedule before_ = emulation::schedule();
};

const Device kDevice = Device::cuda();

std::vector<float> read(const Tensor& t, const Stream& stream) {
  const StreamScope scope(stream);
  return t.to(Device::cpu()).to_vector<float>();
}
bool all_are(const std::vector<float>& values, float expected) {
  for (const float v : values)
    if (v != expected) return false;
  return true;
}

// True if the kernel is said to have a conflict.
template <class... Parameters, class... Arguments>
bool conflicts(void (*kernel)(Parameters...), std::int64_t blocks, Arguments... arguments) {
  const cuda::Queue queue("planted", kDevice);
  queue.launch(kernel, {blocks}, kThreads, 0, arguments...);
  const cudaError_t status = cudaStreamSynchronize(queue.stream());
  emulation::forget_failure();
  EXPECT_TRUE(status == cudaSuccess || status == cudaErrorAssert) << cudaGetErrorName(status);
  return status == cudaErrorAssert;
}

// ---- streams ----

// What one stream makes, another reads.
bool reads_too_early(bool waits) {
  const Stream first = Stream::create(kDevice), second = Stream::create(kDevice);
  Tensor made, copied;
  Event event(kDevice);
  {
    const StreamScope scope(first);
    made = Tensor::full({1000}, 3, DType::kF32, kDevice);
    event.record(first);
  }
  {
    const StreamScope scope(second);
    if (waits) event.wait(second);
    copied = made.clone();
  }
  const bool shows = !all_are(read(copied, second), 3);
  first.synchronize();
  return shows;
}

TEST(CudaPlantedFault, AMissingWaitIsFound) {
  Schedules schedules;
  EXPECT_GE(schedules.count([] { return reads_too_early(false); }), kSeeds / 2);
  EXPECT_EQ(schedules.count([] { return reads_too_early(true); }), 0);
  EXPECT_FALSE(schedules.in_order([] { return reads_too_early(false); }));
}

// As a norm folded into a convolution was: made by the first stream that asks, then taken from a cache by others.
bool shared_too_early(bool ready) {
  struct {
    Tensor value;
    Ready ready;
  } cache;
  const auto use = [&](const Stream& stream) {
    const StreamScope scope(stream);
    if (!cache.value.defined()) {
      cache.value = Tensor::full({1000}, 3, DType::kF32, kDevice);
      cache.ready = Ready(kDevice);
    }
    if (ready) cache.ready.use({cache.value});
    return cache.value.clone();
  };
  const Stream first = Stream::create(kDevice), second = Stream::create(kDevice);
  use(first);
  const bool shows = !all_are(read(use(second), second), 3);
  first.synchronize();
  return shows;
}

TEST(CudaPlantedFault, ASharedThingThatIsNotReadyIsFound) {
  Schedules schedules;
  EXPECT_GE(schedules.count([] { return shared_too_early(false); }), kSeeds / 2);
  EXPECT_EQ(schedules.count([] { return shared_too_early(true); }), 0);
  EXPECT_FALSE(schedules.in_order([] { return shared_too_early(false); }));
}

// Memory that goes back to its own stream while another still reads it.
bool returned_too_early(bool shared) {
  const Stream first = Stream::create(kDevice), second = Stream::create(kDevice);
  Tensor made, copied;
  Ready ready;
  {
    const StreamScope scope(first);
    made = Tensor::full({1000}, 3, DType::kF32, kDevice);
    ready = Ready(kDevice);
    first.synchronize();
  }
  {
    const StreamScope scope(second);
    if (shared) ready.use({made});
    copied = made.clone();
  }
  made = {};
  first.synchronize();
  return !all_are(read(copied, second), 3);
}

TEST(CudaPlantedFault, AUseAfterTheReturnIsFound) {
  Schedules schedules;
  EXPECT_GE(schedules.count([] { return returned_too_early(false); }), kSeeds / 2);
  EXPECT_EQ(schedules.count([] { return returned_too_early(true); }), 0);
  EXPECT_FALSE(schedules.in_order([] { return returned_too_early(false); }));
}

// A pinned buffer that is written again while a copy still waits to read it; a pageable one may be.
bool overwrites_a_buffer(bool pinned) {
  constexpr std::size_t kCount = 1000, kBytes = kCount * sizeof(float);
  const Stream stream = Stream::create(kDevice);
  const StreamScope scope(stream);
  auto handle = static_cast<cudaStream_t>(stream.handle());
  std::vector<float> pageable(kCount);
  void* memory = pageable.data();
  if (pinned) USOL_CUDA_CHECK(cudaMallocHost(&memory, kBytes));
  auto* values = static_cast<float*>(memory);
  std::fill_n(values, kCount, 3.0f);
  Tensor made = Tensor::empty({static_cast<std::int64_t>(kCount)}, DType::kF32, kDevice);
  USOL_CUDA_CHECK(cudaMemcpyAsync(made.mutable_data<float>(), values, kBytes, cudaMemcpyHostToDevice, handle));
  std::fill_n(values, kCount, 4.0f);
  const bool shows = !all_are(read(made, stream), 3);
  if (pinned) USOL_CUDA_CHECK(cudaFreeHost(memory));
  return shows;
}

TEST(CudaPlantedFault, APinnedBufferThatIsWrittenTooEarlyIsFound) {
  Schedules schedules;
  EXPECT_GE(schedules.count([] { return overwrites_a_buffer(true); }), kSeeds / 2);
  EXPECT_EQ(schedules.count([] { return overwrites_a_buffer(false); }), 0);
  EXPECT_FALSE(schedules.in_order([] { return overwrites_a_buffer(true); }));
}

// A result that the host looks at before the copy to pinned memory is done.
bool looks_too_early(bool waits) {
  const Stream stream = Stream::create(kDevice);
  const StreamScope scope(stream);
  const Tensor made = Tensor::full({1}, 3, DType::kF32, kDevice);
  void* memory = nullptr;
  USOL_CUDA_CHECK(cudaMallocHost(&memory, sizeof(float)));
  auto* value = static_cast<float*>(memory);
  *value = 0;
  USOL_CUDA_CHECK(cudaMemcpyAsync(value, made.data<float>(), sizeof(float), cudaMemcpyDeviceToHost,
                                  static_cast<cudaStream_t>(stream.handle())));
  if (waits) stream.synchronize();
  const bool shows = *value != 3;
  USOL_CUDA_CHECK(cudaFreeHost(memory));
  return shows;
}

TEST(CudaPlantedFault, AResultThatIsLookedAtTooEarlyIsFound) {
  Schedules schedules;
  EXPECT_GE(schedules.count([] { return looks_too_early(false); }), kSeeds / 2);
  EXPECT_EQ(schedules.count([] { return looks_too_early(true); }), 0);
  EXPECT_FALSE(schedules.in_order([] { return looks_too_early(false); }));
}

// ---- memory ----

// Fresh memory is never zero by luck, not even where zeros lay before.
TEST(CudaPlantedFault, FreshMemoryIsPoisoned) {
  Schedules schedules;
  EXPECT_EQ(schedules.count([] {
    const Stream stream = Stream::current(kDevice);
    read(Tensor::zeros({1000}, DType::kF32, kDevice), stream);
    for (const float v : read(Tensor::empty({1000}, DType::kF32, kDevice), stream))
      if (!std::isnan(v)) return false;
    return true;
  }),
            kSeeds);
}

// A sum in shared memory that some block begins without clearing it: 0 only where another left nothing.
__global__ void uncleared_kernel(float* out, bool clears) {
  __shared__ float sum[kThreads];
  const auto t = threadIdx.x;
  if (clears || blockIdx.x == 0) sum[t] = 0;
  sum[t] += 1;
  out[blockIdx.x * kThreads + t] = sum[t];
  sum[t] = 0;
}

TEST(CudaPlantedFault, SharedMemoryOfAnotherBlockIsNotSeen) {
  Schedules schedules;
  const auto shows = [](bool clears) {
    Tensor out = Tensor::empty({3, kThreads}, DType::kF32, kDevice);
    EXPECT_FALSE(conflicts(uncleared_kernel, 3, out.mutable_data<float>(), clears));
    return !all_are(read(out, Stream::current(kDevice)), 1);
  };
  EXPECT_EQ(schedules.count([&] { return shows(false); }), kSeeds);
  EXPECT_EQ(schedules.count([&] { return shows(true); }), 0);
}

// ---- threads ----

// Each thread reads what the one before it has written.
__global__ void neighbour_kernel(float* out, bool waits) {
  __shared__ float values[kThreads];
  const auto t = threadIdx.x;
  values[t] = 5;
  if (waits) __syncthreads();
  out[t] = values[t == 0 ? 0 : t - 1];
}

TEST(CudaPlantedFault, AMissingBarrierIsFound) {
  Schedules schedules;
  Tensor out = Tensor::empty({kThreads}, DType::kF32, kDevice);
  const auto conflict = [&](bool waits) { return conflicts(neighbour_kernel, 1, out.mutable_data<float>(), waits); };
  // By the order of the threads alone, and by the comparison of their accesses.
  EXPECT_GE(schedules.count([&] {
    conflict(false);
    return !all_are(read(out, Stream::current(kDevice)), 5);
  }),
            kSeeds / 2);
  EXPECT_EQ(schedules.count([&] { return conflict(false); }), kSeeds);
  EXPECT_EQ(schedules.count([&] { return conflict(true) || !all_are(read(out, Stream::current(kDevice)), 5); }), 0);
  EXPECT_FALSE(schedules.in_order([&] { return conflict(false) || !all_are(read(out, Stream::current(kDevice)), 5); }));
}

// The same within a warp, whose lanes meet in a shuffle, which orders no memory, or in __syncwarp(), which does.
__global__ void lanes_kernel(float* out, bool waits) {
  __shared__ float values[kThreads];
  const auto t = threadIdx.x;
  values[t] = 5;
  const float other = __shfl_xor_sync(cuda::kAllLanes, 1.0f, 1);
  if (waits) __syncwarp();
  out[t] = other * values[t ^ 1];
}

TEST(CudaPlantedFault, AMissingBarrierOfAWarpIsFound) {
  Schedules schedules;
  Tensor out = Tensor::empty({kThreads}, DType::kF32, kDevice);
  const auto conflict = [&](bool waits) { return conflicts(lanes_kernel, 1, out.mutable_data<float>(), waits); };
  EXPECT_EQ(schedules.count([&] { return conflict(false); }), kSeeds);
  EXPECT_EQ(schedules.count([&] { return conflict(true); }), 0);
  EXPECT_FALSE(schedules.in_order([&] { return conflict(false); }));
}

// All blocks add to one cell.
__global__ void one_cell_kernel(float* cell, bool atomically) {
  if (threadIdx.x != 0) return;
  if (atomically)
    atomicAdd(cell, 1.0f);
  else
    *cell += 1;
}

TEST(CudaPlantedFault, TwoBlocksOnOneCellAreFound) {
  Schedules schedules;
  Tensor cell = Tensor::zeros({1}, DType::kF32, kDevice);
  const auto conflict = [&](bool atomically) {
    return conflicts(one_cell_kernel, 5, cell.mutable_data<float>(), atomically);
  };
  EXPECT_EQ(schedules.count([&] { return conflict(false); }), kSeeds);
  EXPECT_EQ(schedules.count([&] { return conflict(true); }), 0);
  EXPECT_FALSE(schedules.in_order([&] { return conflict(false); }));
}

// A block reads what another one writes; bytes beside each other are no conflict.
__global__ void halves_kernel(unsigned char* bytes, float* values, bool apart) {
  const auto t = threadIdx.x;
  bytes[2 * t + blockIdx.x] = 1;
  if (blockIdx.x == 0)
    values[t] = 1;
  else if (!apart)
    values[kThreads + t] = values[t];
}

TEST(CudaPlantedFault, ABlockThatReadsWhatAnotherWritesIsFound) {
  Schedules schedules;
  Tensor bytes = Tensor::empty({2 * kThreads}, DType::kU8, kDevice);
  Tensor values = Tensor::empty({2 * kThreads}, DType::kF32, kDevice);
  const auto conflict = [&](bool apart) {
    return conflicts(halves_kernel, 2, bytes.mutable_data<std::uint8_t>(), values.mutable_data<float>(), apart);
  };
  EXPECT_EQ(schedules.count([&] { return conflict(false); }), kSeeds);
  EXPECT_EQ(schedules.count([&] { return conflict(true); }), 0);
}

}  // namespace
}  // namespace usol
