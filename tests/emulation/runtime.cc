// The emulated CUDA runtime's memory, streams, graphs and launches. A call only queues its work, as on a device: it
// runs when somebody waits for it, or earlier where the seed says so (schedule.h), in any order that events leave open.
// Under stream capture it becomes part of the graph.
//
// Device memory is one range of addresses that is readable only while a kernel or a copy runs: host code that touches a
// CUDA tensor crashes here as it would on a real device. Blocks are filled with 0xFF (NaN as a float) where their
// stream comes to their allocation, and again where it comes to their return. The same stream may get a returned block
// at once; others get it when its return has run.

#include <cuda_runtime.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "tests/emulation/arena.h"
#include "tests/emulation/block.h"
#include "tests/emulation/conflicts.h"
#include "tests/emulation/schedule.h"
#include "tests/emulation/stream_work.h"

using Work = std::function<cudaError_t()>;

namespace {
struct GraphBody;
struct Mark {
  CUstream_st* stream;  // as long as it is not done
  bool done = false;
};
struct Item {
  Work work;                             // may be empty
  std::shared_ptr<Mark> waits_for = {};  // must be done before
  std::shared_ptr<Mark> marks = {};      // is done after
};
// A block that was returned in a stream's order.
struct Returned {
  void* data;
  std::size_t size;
  bool taken = false;  // by the same stream again
  bool done = false;
};
}  // namespace

struct EmulatedGraph {
  std::shared_ptr<GraphBody> body;
};
struct CUstream_st {
  std::shared_ptr<GraphBody> capture;
  std::deque<Item> queue;
  std::vector<std::shared_ptr<Returned>> returned;
  bool destroyed = false;
};
struct CUevent_st {
  std::shared_ptr<Mark> mark;
};
struct EmulatedPool {};

namespace {

constexpr int kMultiprocessors = 3;  // few, so that grid-stride loops go round more than once
constexpr std::size_t kSharedByDefault = 48 << 10, kMostShared = 227 << 10;
constexpr int kPoison = 0xFF;
constexpr std::size_t kMostQueued = 1024;  // then the host waits, as it would for a device

// The whole runtime is one critical section: kernels of several host threads run one after the other.
std::recursive_mutex mutex;
thread_local int current_device = 0;
cudaError_t last_error = cudaSuccess;
cudaError_t failed_work = cudaSuccess;  // told to all who wait from then on, as a device does
std::map<const void*, std::size_t> shared_limits;
std::map<const void*, unsigned> launches;            // of each kernel
std::vector<CUstream_st*> streams;                   // all that live or have work left
std::map<const unsigned char*, std::size_t> pinned;  // host memory of cudaMallocHost
emulation::Schedule how;
std::uint64_t random_state = 0;
bool arithmetic = true;

int device_total() {
  static const int count = [] {
    const char* value = std::getenv("USOL_EMULATED_DEVICES");
    return value ? std::atoi(value) : 1;
  }();
  return count;
}

cudaError_t fail(cudaError_t error) { return last_error = error; }

using emulation::arena;
using emulation::Arena;

struct GraphBody {
  std::vector<Work> work;
  std::set<void*> memory;  // allocated while capturing; freed with the graph
  bool invalid = false;    // something was asked for that cannot be captured
  std::thread::id thread = std::this_thread::get_id();
  ~GraphBody() {
    for (void* data : memory) arena().give_back(data);
  }
};

// What a stream under capture refuses also spoils the capture.
cudaError_t refuse(GraphBody& capture, cudaError_t error = cudaErrorStreamCaptureUnsupported) {
  capture.invalid = true;
  return fail(error);
}

void start_schedule(const emulation::Schedule& schedule) {
  how = schedule;
  launches.clear();
  random_state = schedule.seed * 0x9E3779B97F4A7C15u + 1;
}
[[maybe_unused]] const bool from_environment = [] {
  const char* seed = std::getenv("USOL_EMULATION_SEED");
  start_schedule({seed ? std::strtoull(seed, nullptr, 10) : 0, true});
  return true;
}();

bool runnable(const CUstream_st& stream) {
  return !stream.queue.empty() && (!stream.queue.front().waits_for || stream.queue.front().waits_for->done);
}

void run_front(CUstream_st& stream) {
  const Item item = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (item.work) {
    const Arena::Open open(arena());
    const cudaError_t status = item.work();
    if (failed_work == cudaSuccess) failed_work = status;
  }
  if (item.marks) item.marks->done = true;
  if (stream.destroyed && stream.queue.empty()) {
    std::erase(streams, &stream);
    delete &stream;
  }
}

// Runs what is first in the stream, or what that waits for.
void step(CUstream_st& stream) {
  if (runnable(stream))
    run_front(stream);
  else
    step(*stream.queue.front().waits_for->stream);
}

// Work that nobody waits for runs early: never, now and then or often, as the seed says.
bool early() { return how.seed != 0 && emulation::choose(std::uint64_t{4} << how.seed % 5) == 0; }
void step_anywhere() {
  CUstream_st& any = *streams[emulation::choose(streams.size())];
  if (runnable(any)) run_front(any);
}

void run_until(const std::shared_ptr<Mark>& mark) {
  while (!mark->done) {
    if (early())
      step_anywhere();
    else
      step(*mark->stream);
  }
}

std::shared_ptr<Mark> mark_end(CUstream_st& stream) {
  auto mark = std::make_shared<Mark>(Mark{&stream});
  stream.queue.push_back({.work = {}, .waits_for = {}, .marks = mark});
  return mark;
}

void drain(CUstream_st& stream) {
  if (!stream.queue.empty()) run_until(mark_end(stream));
}

void drain_all() {
  for (;;) {
    const auto busy = std::find_if(streams.begin(), streams.end(), [](const auto* s) { return !s->queue.empty(); });
    if (busy == streams.end()) return;
    step(**busy);
  }
}

// What waiting returns.
cudaError_t failure() { return failed_work == cudaSuccess ? failed_work : fail(failed_work); }

void queue(CUstream_st& stream, Item item) {
  stream.queue.push_back(std::move(item));
  if (!how.lazy) return drain(stream);
  if (stream.queue.size() > kMostQueued) step(stream);
  if (early())
    for (std::uint64_t steps = emulation::choose(4); steps > 0; --steps) step_anywhere();
}

cudaError_t run_or_capture(cudaStream_t stream, Work work) {
  const std::lock_guard lock(mutex);
  if (!arithmetic) return cudaSuccess;
  if (stream->capture)
    stream->capture->work.push_back(std::move(work));
  else
    queue(*stream, {std::move(work)});
  return cudaSuccess;
}

Work poison(void* data, std::size_t size) {
  return [data, size] {
    std::memset(data, kPoison, size);
    return cudaSuccess;
  };
}

bool is_pinned(const void* data, std::size_t bytes) {
  const auto* byte = static_cast<const unsigned char*>(data);
  auto after = pinned.upper_bound(byte);
  if (after == pinned.begin()) return false;
  --after;
  return byte + bytes <= after->first + after->second;
}

void* take(std::size_t bytes) {
  if (void* data = arena().take(bytes)) return data;
  drain_all();
  return arena().take(bytes);
}

// What waits for the device, which the thread must not do while it captures.
cudaError_t refuse_while_capturing() {
  for (CUstream_st* stream : streams)
    if (stream->capture && stream->capture->thread == std::this_thread::get_id()) return refuse(*stream->capture);
  return cudaSuccess;
}

// Of a function, from the start of the program or library that holds it.
std::size_t place_of(const void* function, const char** file = nullptr) {
  Dl_info place{};
  dladdr(function, &place);
  if (file != nullptr) *file = place.dli_fname != nullptr ? place.dli_fname : "this program";
  return static_cast<std::size_t>(static_cast<const char*>(function) - static_cast<const char*>(place.dli_fbase));
}

// The first launches of a kernel are looked at, and some of the later ones: looking takes time.
bool looked_at(const void* kernel) {
  constexpr unsigned kFirst = 4;
  return how.lazy && (launches[kernel]++ < kFirst || emulation::choose(64) == 0);
}

// With USOL_LAUNCH_REPORT=FILE: at the end a line "<kernel>\t<threads>\t<dynamic shared bytes>" is added for each
// kernel, the most of all its launches; the kernel is named by its place in the program, which `nm` knows.
class LaunchReport {
 public:
  explicit LaunchReport(const char* path) : path_(path) {}
  ~LaunchReport() {
    if (path_ == nullptr) return;
    std::FILE* const file = std::fopen(path_, "a");
    if (file == nullptr) return;
    for (const auto& [kernel, most] : most_)
      std::fprintf(file, "%#zx\t%u\t%zu\n", place_of(kernel), most.threads, most.shared_bytes);
    std::fclose(file);
  }
  LaunchReport(const LaunchReport&) = delete;
  LaunchReport& operator=(const LaunchReport&) = delete;
  void note(const void* kernel, unsigned threads, std::size_t shared_bytes) {
    if (path_ == nullptr) return;
    Most& most = most_[kernel];
    most.threads = std::max(most.threads, threads);
    most.shared_bytes = std::max(most.shared_bytes, shared_bytes);
  }

 private:
  struct Most {
    unsigned threads = 0;
    std::size_t shared_bytes = 0;
  };
  const char* path_;
  std::map<const void*, Most> most_;
} launch_report(std::getenv("USOL_LAUNCH_REPORT"));

cudaError_t run_kernel(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& thread) {
  blockDim = config.blockDim;
  gridDim = config.gridDim;
  const std::uint64_t blocks = std::uint64_t{gridDim.x} * gridDim.y * gridDim.z, first = emulation::choose(blocks);
  std::uint64_t stride = 1 + emulation::choose(blocks);
  while (std::gcd(stride, blocks) != 1) ++stride;
  const bool look = looked_at(kernel);
  if (look) emulation::begin_watching();
  bool done = true;
  for (std::uint64_t b = 0; done && b < blocks; ++b) {
    const std::uint64_t i = (first + b * stride) % blocks;
    blockIdx = {static_cast<unsigned>(i % gridDim.x), static_cast<unsigned>(i / gridDim.x % gridDim.y),
                static_cast<unsigned>(i / gridDim.x / gridDim.y)};
    done = emulation::run_block(thread, config.dynamicSmemBytes, static_cast<unsigned>(i));
  }
  if (look) emulation::end_watching();
  if (!done) return cudaErrorLaunchFailure;
  const std::string conflict = emulation::take_conflict();
  if (conflict.empty()) return cudaSuccess;
  const char* file = nullptr;
  const std::size_t place = place_of(kernel, &file);
  std::fprintf(stderr, "emulation: the kernel at %#zx of %s: %s\n", place, file, conflict.c_str());
  return cudaErrorAssert;
}

}  // namespace

namespace emulation {

cudaError_t launch(const cudaLaunchConfig_t& config, const void* kernel, const std::function<void()>& thread) {
  const std::lock_guard lock(mutex);
  const unsigned threads = config.blockDim.x * config.blockDim.y * config.blockDim.z;
  const auto limit = shared_limits.contains(kernel) ? shared_limits[kernel] : kSharedByDefault;
  if (config.stream == nullptr || threads == 0 || threads > 1024 || config.blockDim.z > 64 || config.gridDim.x == 0 ||
      config.gridDim.y == 0 || config.gridDim.z == 0 || config.gridDim.y > 65535 || config.gridDim.z > 65535 ||
      config.dynamicSmemBytes > limit)
    return fail(cudaErrorInvalidConfiguration);
  launch_report.note(kernel, threads, config.dynamicSmemBytes);
  return run_or_capture(config.stream, [config, kernel, thread] { return run_kernel(config, kernel, thread); });
}

void submit(cudaStream_t stream, std::function<cudaError_t()> work) { run_or_capture(stream, std::move(work)); }

std::size_t bytes_behind(const void* data) {
  const std::lock_guard lock(mutex);
  return arena().bytes_behind(data);
}

void set_schedule(const Schedule& schedule) {
  const std::lock_guard lock(mutex);
  drain_all();
  start_schedule(schedule);
}
const Schedule& schedule() { return how; }
void set_arithmetic(bool on) {
  const std::lock_guard lock(mutex);
  drain_all();
  arithmetic = on;
}
void forget_failure() {
  const std::lock_guard lock(mutex);
  failed_work = last_error = cudaSuccess;
}

// Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators" (SplitMix64).
std::uint64_t choose(std::uint64_t bound) {
  if (!how.lazy) return 0;
  std::uint64_t z = random_state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return (z ^ z >> 31) % bound;
}

}  // namespace emulation

cudaError_t cudaGetLastError() {
  const std::lock_guard lock(mutex);
  return std::exchange(last_error, cudaSuccess);
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = device_total();
  return *count > 0 ? cudaSuccess : fail(cudaErrorNoDevice);
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_total()) return fail(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  const std::lock_guard lock(mutex);
  drain_all();
  return failure();
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = kMultiprocessors;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const std::lock_guard lock(mutex);
  *stream = streams.emplace_back(new CUstream_st);
  return cudaSuccess;
}
// What is queued still runs.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  stream->destroyed = true;
  mark_end(*stream);
  if (stream->queue.size() == 1) run_front(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  if (stream->capture) return refuse(*stream->capture);
  drain(*stream);
  return failure();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const std::lock_guard lock(mutex);
  if (!event->mark) return cudaSuccess;
  if (stream->capture) return refuse(*stream->capture, cudaErrorStreamCaptureIsolation);
  if (!event->mark->done) queue(*stream, {.work = {}, .waits_for = event->mark, .marks = {}});
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const std::lock_guard lock(mutex);
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  if (stream->capture) return refuse(*stream->capture);
  event->mark = std::make_shared<Mark>(Mark{stream});
  queue(*stream, {.work = {}, .waits_for = {}, .marks = event->mark});
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const std::lock_guard lock(mutex);
  if (event->mark) run_until(event->mark);
  return failure();
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  static EmulatedPool instance;
  *pool = &instance;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) { return cudaSuccess; }
cudaError_t cudaMalloc(void** data, std::size_t bytes) {
  const std::lock_guard lock(mutex);
  if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return refused;
  *data = take(bytes);
  if (*data == nullptr) return fail(cudaErrorMemoryAllocation);
  if (!arithmetic) return cudaSuccess;
  // Of a large workspace only the beginning: protecting pages that nobody touched costs nothing.
  constexpr std::size_t kMostPoisoned = 64 << 10;
  const Arena::Open open(arena());
  std::memset(*data, kPoison, std::min(Arena::rounded(bytes), kMostPoisoned));
  return cudaSuccess;
}
cudaError_t cudaFree(void* data) {
  const std::lock_guard lock(mutex);
  if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return refused;
  drain_all();
  return arena().give_back(data) ? cudaSuccess : fail(cudaErrorInvalidValue);
}
cudaError_t cudaMallocAsync(void** data, std::size_t bytes, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  const std::size_t size = Arena::rounded(bytes);
  *data = nullptr;
  std::erase_if(stream->returned, [](const auto& r) { return r->done || r->taken; });
  const auto again =
      std::find_if(stream->returned.begin(), stream->returned.end(), [&](const auto& r) { return r->size == size; });
  if (!stream->capture && again != stream->returned.end() && emulation::choose(4) != 0) {
    (*again)->taken = true;
    *data = (*again)->data;
    arena().resize(*data, bytes);
  }
  if (*data == nullptr && (*data = take(bytes)) == nullptr) return fail(cudaErrorMemoryAllocation);
  if (stream->capture) stream->capture->memory.insert(*data);
  return run_or_capture(stream, poison(*data, size));
}
cudaError_t cudaFreeAsync(void* data, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  const std::size_t size = arena().size_of(data);
  if (stream->capture) {  // stays the graph's; another block would be returned at each launch
    if (!stream->capture->memory.contains(data)) return refuse(*stream->capture);
    stream->capture->work.push_back(poison(data, size));
    return cudaSuccess;
  }
  if (size == 0) return fail(cudaErrorInvalidValue);
  const auto block = std::make_shared<Returned>(Returned{data, size});
  stream->returned.push_back(block);
  queue(*stream, {[block, fill = arithmetic] {
    if (fill) std::memset(block->data, kPoison, block->size);
    block->done = true;
    if (!block->taken) arena().give_back(block->data);
    return cudaSuccess;
  }});
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** data, std::size_t bytes) {
  const std::lock_guard lock(mutex);
  *data = std::malloc(bytes);
  if (*data == nullptr) return fail(cudaErrorMemoryAllocation);
  std::memset(*data, kPoison, bytes);
  pinned[static_cast<unsigned char*>(*data)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  const std::lock_guard lock(mutex);
  drain_all();
  pinned.erase(static_cast<unsigned char*>(data));
  std::free(data);
  return cudaSuccess;
}
// Pinned memory is read or written when the stream comes to it. What is pageable is copied aside before the call
// returns, for which the driver may wait for the stream; and is written before the call returns.
// Source: CUDA runtime API, "API synchronization behavior".
cudaError_t cudaMemcpyAsync(void* dst, const void* src, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const bool to = arena().holds(dst), from = arena().holds(src);
  if (to != (kind != cudaMemcpyDeviceToHost) || from != (kind != cudaMemcpyHostToDevice))
    return fail(cudaErrorInvalidValue);
  const std::lock_guard lock(mutex);
  if (!arithmetic) {
    if (from && !to) std::memset(dst, 0, bytes);
    return cudaSuccess;
  }
  const auto copy = [=] {
    std::memmove(dst, src, bytes);
    return cudaSuccess;
  };
  if (stream->capture || (to && from) || is_pinned(to ? src : dst, bytes)) return run_or_capture(stream, copy);
  if (from) {
    queue(*stream, {copy});
    drain(*stream);
    return failure();
  }
  if (how.seed != 0 && emulation::choose(2) == 0) drain(*stream);
  const auto* first = static_cast<const unsigned char*>(src);
  queue(*stream, {[dst, staged = std::vector<unsigned char>(first, first + bytes)] {
    std::memcpy(dst, staged.data(), staged.size());
    return cudaSuccess;
  }});
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* data, int value, std::size_t bytes, cudaStream_t stream) {
  if (!arena().holds(data)) return fail(cudaErrorInvalidValue);
  return run_or_capture(stream, [=] {
    std::memset(data, value, bytes);
    return cudaSuccess;
  });
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* data) {
  if (!arena().holds(data)) return fail(cudaErrorInvalidValue);
  attributes->device = 0;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const std::lock_guard lock(mutex);
  if (stream->capture) return fail(cudaErrorInvalidValue);
  stream->capture = std::make_shared<GraphBody>();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const std::lock_guard lock(mutex);
  if (!stream->capture) return fail(cudaErrorInvalidValue);
  const auto body = std::exchange(stream->capture, nullptr);
  *graph = nullptr;
  if (body->invalid) return fail(cudaErrorStreamCaptureInvalidated);
  *graph = new EmulatedGraph{body};
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new EmulatedGraph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const std::lock_guard lock(mutex);
  for (std::size_t i = 0; i < exec->body->work.size(); ++i)
    run_or_capture(stream, [body = exec->body, i] { return body->work[i](); });
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const std::lock_guard lock(mutex);
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) { return cudaGraphDestroy(exec); }

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  const std::lock_guard lock(mutex);
  if (value < 0 || static_cast<std::size_t>(value) > kMostShared) return fail(cudaErrorInvalidValue);
  shared_limits[kernel] = static_cast<std::size_t>(value);
  return cudaSuccess;
}
cudaError_t cudaFuncGetName(const char** name, const void*) {
  *name = nullptr;
  return cudaErrorInvalidValue;
}
