#include "usol/train/distributed.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "usol/tensor/check.h"
#include "usol/train/device_sums.h"
#include "usol/train/gradient_sums.h"

#ifdef USOL_WITH_MPI
#include <mpi.h>
#endif

namespace usol::train {
namespace {

#ifdef USOL_WITH_MPI

void check_mpi(int code, const char* what) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(ErrorKind::kDevice, fmt::format("{}: communication between processes failed: {}", what,
                                       std::string(text, static_cast<std::size_t>(length))));
}

// A number that says what a signal asks for; 0 for none.
using CaughtSignal = int (*)();

// MPI's own waits can be ended by nothing. This one throws Error(kInterrupted); what was begun is then left to
// abort_ranks(). It asks for the first moment as often as it can, as MPI does, and with `pauses` now and then after it.
void wait_for(MPI_Request& request, const char* what, CaughtSignal caught, bool pauses) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kAsking = std::chrono::milliseconds(1);
  constexpr auto kPause = std::chrono::microseconds(50);
  const auto start = Clock::now();
  std::optional<Clock::time_point> asked;  // to stop, while this one waits
  for (;;) {
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), what);
    if (done != 0) return;
    const auto now = Clock::now();
    if (pauses && now - start >= kAsking)
      std::this_thread::sleep_for(kPause);
    else
      std::this_thread::yield();
    const int signal = caught ? caught() : 0;
    if (signal == 0 || signal == SIGUSR1) continue;
    if (!asked) asked = now;
    check(now - *asked < kStopPatience, ErrorKind::kInterrupted,
          "stopped by signal {}; the other processes did not stop within {} s and are ended", signal,
          kStopPatience.count());
  }
}

// Waits until all processes of the group are here: what they do together next takes no longer than it travels.
void meet(MPI_Comm group, CaughtSignal caught) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(group, &request), "barrier");
  wait_for(request, "barrier", caught, true);
}

void add_up(Tensor& tensor, MPI_Comm group, CaughtSignal caught) {
  meet(group, caught);
  constexpr std::int64_t kMost = 1 << 30;  // MPI counts with int
  const auto reduce = [&](auto* values, MPI_Datatype type) {
    for (std::int64_t first = 0; first < tensor.numel(); first += kMost) {
      const auto part = static_cast<int>(std::min(kMost, tensor.numel() - first));
      MPI_Request request = MPI_REQUEST_NULL;
      check_mpi(MPI_Iallreduce(MPI_IN_PLACE, values + first, part, type, MPI_SUM, group, &request), "all-reduce");
      wait_for(request, "all-reduce", caught, false);
    }
  };
  if (tensor.dtype() == DType::kF32)
    reduce(tensor.mutable_data<float>(), MPI_FLOAT);
  else
    reduce(tensor.mutable_data<double>(), MPI_DOUBLE);
}

// A thread that does one job after another. MPI moves large messages only while somebody is in one of its functions, so
// what is to travel beside the computation needs a thread.
class Worker {
 public:
  Worker() : thread_([jobs = jobs_] { work(*jobs); }) {}
  /// After an exception a job may wait for ever for another rank: then its thread is left to abort_ranks().
  void end(bool wait) {
    {
      const std::lock_guard lock(jobs_->mutex);
      jobs_->ended = true;
    }
    jobs_->changed.notify_one();
    if (wait)
      thread_.join();
    else
      thread_.detach();
  }
  std::future<void> add(std::function<void()> job) {
    std::packaged_task<void()> task(std::move(job));
    std::future<void> done = task.get_future();
    {
      const std::lock_guard lock(jobs_->mutex);
      jobs_->waiting.push_back(std::move(task));
    }
    jobs_->changed.notify_one();
    return done;
  }

 private:
  struct Jobs {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<std::packaged_task<void()>> waiting;
    bool ended = false;
  };
  static void work(Jobs& jobs) {
    for (;;) {
      std::unique_lock lock(jobs.mutex);
      jobs.changed.wait(lock, [&] { return jobs.ended || !jobs.waiting.empty(); });
      if (jobs.waiting.empty()) return;
      std::packaged_task<void()> task = std::move(jobs.waiting.front());
      jobs.waiting.pop_front();
      lock.unlock();
      task();
    }
  }

  std::shared_ptr<Jobs> jobs_ = std::make_shared<Jobs>();
  std::thread thread_;
};

// Brings a signal that one process has caught to all others, and theirs to it: a thread looks now and then. Its
// messages go through a group of their own.
class SignalExchange {
 public:
  SignalExchange(const StopSignals& signals, int rank, int size) : signals_(signals), rank_(rank), size_(size) {
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &group_), "MPI_Comm_dup");
    thread_ = std::thread([this] {
      std::unique_lock lock(mutex_);
      while (!changed_.wait_for(lock, kEvery, [&] { return ended_; })) look();
    });
  }
  /// Nothing is exchanged any more. `together`: the others end theirs, too, and no message may be left on its way.
  void end(bool together) {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_one();
    thread_.join();
    if (!together) return;
    int senders = sent_.empty() ? 0 : 1;
    MPI_Allreduce(MPI_IN_PLACE, &senders, 1, MPI_INT, MPI_SUM, group_);
    for (int left = senders - (sent_.empty() ? 0 : 1) - received_; left > 0; --left) receive();
    MPI_Waitall(static_cast<int>(sent_.size()), sent_.data(), MPI_STATUSES_IGNORE);
  }

 private:
  static constexpr std::chrono::milliseconds kEvery{100};

  void look() {
    int waiting = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, 0, group_, &waiting, MPI_STATUS_IGNORE);
    if (waiting != 0) signals_.told(receive());
    if (number_ != 0 || (number_ = signals_.caught()) == 0 || received_ > 0) return;
    for (int other = 0; other < size_; ++other)
      if (other != rank_) MPI_Isend(&number_, 1, MPI_INT, other, 0, group_, &sent_.emplace_back());
  }
  int receive() {
    int number = 0;
    MPI_Recv(&number, 1, MPI_INT, MPI_ANY_SOURCE, 0, group_, MPI_STATUS_IGNORE);
    ++received_;
    return number;
  }

  StopSignals signals_;
  int rank_, size_;
  MPI_Comm group_ = MPI_COMM_NULL;
  int number_ = 0;    // that this process has caught or was told
  int received_ = 0;  // messages
  std::vector<MPI_Request> sent_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  std::thread thread_;
};

class MpiRanks : public OverlappingRanks {
 public:
  MpiRanks(int wanted, const StopSignals& signals) : exceptions_(std::uncaught_exceptions()), caught_(signals.caught) {
    int provided = 0;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
    check(provided == MPI_THREAD_MULTIPLE, ErrorKind::kUnsupported,
          "this MPI does not let two threads communicate at once (MPI_THREAD_MULTIPLE); take one built with it");
    check(size_ == wanted, ErrorKind::kUnsupported,
          "{} processes were started together, but MPI knows of {}: start them with the mpirun of the MPI that this "
          "binary was built with, or with srun --mpi=pmix",
          wanted, size_);
    check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &started_), "MPI_Comm_dup");
    worker_.emplace();
    if (signals.caught && signals.told) exchange_.emplace(signals, rank_, size_);
  }
  ~MpiRanks() override {
    const bool failed = std::uncaught_exceptions() != exceptions_;
    if (worker_) worker_->end(!failed);
    device_sums_.reset();
    if (exchange_) exchange_->end(!failed);
    if (!failed) MPI_Finalize();
  }
  MpiRanks(const MpiRanks&) = delete;
  MpiRanks& operator=(const MpiRanks&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  // MPI promises that all processes receive identical results.
  void all_reduce_sum(Tensor& tensor) override {
    check_tensor(tensor);
    Tensor host = tensor.detach().to(Device::cpu());
    add_up(host, MPI_COMM_WORLD, caught_);
    if (!tensor.is_cpu()) tensor.copy_from(host.to(tensor.device()));
  }

  // In a group of their own: these sums and the others cannot be taken for each other.
  std::future<void> start_all_reduce_sum(Tensor tensor) override {
    check_tensor(tensor);
    if (!tensor.is_cpu() && device_sums_library()) return device_sums(tensor.device()).start(tensor);
    Tensor host = tensor.detach().to(Device::cpu());
    std::future<void> sum =
        worker_->add([host, group = started_, caught = caught_]() mutable { add_up(host, group, caught); });
    if (tensor.is_cpu()) return sum;
    return std::async(std::launch::deferred, [host, tensor, sum = std::move(sum)]() mutable {
      sum.get();
      tensor.copy_from(host.to(tensor.device()));
    });
  }

 private:
  // The group of the devices, joined with the first sum that is started on one.
  DeviceSums& device_sums(const Device& device) {
    if (!device_sums_) {
      std::string id;
      const std::string own = device_sums_library()->make_id();
      worker_
          ->add([&] {
            id = own;
            meet(started_, caught_);
            MPI_Request request = MPI_REQUEST_NULL;
            check_mpi(MPI_Ibcast(id.data(), static_cast<int>(id.size()), MPI_CHAR, 0, started_, &request), "broadcast");
            wait_for(request, "broadcast", caught_, false);
          })
          .get();
      device_sums_ = device_sums_library()->join(id, rank_, size_, device);
    }
    return *device_sums_;
  }
  static void check_tensor(const Tensor& tensor) {
    check(tensor.is_contiguous() && (tensor.dtype() == DType::kF32 || tensor.dtype() == DType::kF64),
          "all-reduce: expected a dense f32 or f64 tensor, got {} {}", tensor.dtype(), tensor.shape());
  }

  int exceptions_, rank_ = 0, size_ = 1;
  CaughtSignal caught_;
  MPI_Comm started_ = MPI_COMM_NULL;
  std::optional<Worker> worker_;
  std::optional<SignalExchange> exchange_;
  std::unique_ptr<DeviceSums> device_sums_;
};

#endif

}  // namespace

// MPI itself cannot be asked before it is initialised, which a process that is alone should not have to wait for.
int launched_ranks() {
  // Open MPI's mpirun; MPICH's and Intel's; srun (within a step only, so that a script of several tasks counts as one).
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"})
    if (const char* value = std::getenv(name)) return std::max(1, std::atoi(value));
  return 1;
}

int local_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"})
    if (const char* value = std::getenv(name)) return std::max(0, std::atoi(value));
  return 0;
}

#ifdef USOL_WITH_MPI

bool has_mpi() { return true; }

std::unique_ptr<Communicator> join_ranks(const StopSignals& signals) {
  const int wanted = launched_ranks();
  return wanted == 1 ? nullptr : std::make_unique<MpiRanks>(wanted, signals);
}

void abort_ranks(int status) {
  int begun = 0, ended = 0;
  MPI_Initialized(&begun);
  MPI_Finalized(&ended);
  if (begun && !ended) MPI_Abort(MPI_COMM_WORLD, status);
}

#else

bool has_mpi() { return false; }

std::unique_ptr<Communicator> join_ranks(const StopSignals&) {
  const int wanted = launched_ranks();
  check(wanted == 1, ErrorKind::kUnsupported,
        "{} processes were started together, but this build has no MPI and each would do the whole work: start one, or "
        "install libopenmpi-dev and build again with -DUSOL_MPI=ON",
        wanted);
  return nullptr;
}

void abort_ranks(int) {}

#endif

}  // namespace usol::train
