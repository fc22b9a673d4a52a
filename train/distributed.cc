#include "train/distributed.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <string>

#include "tensor/check.h"

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

class MpiRanks : public Communicator {
 public:
  explicit MpiRanks(int wanted) : exceptions_(std::uncaught_exceptions()) {
    int provided = 0;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
    check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
    check(provided >= MPI_THREAD_FUNNELED, ErrorKind::kUnsupported,
          "this MPI does not allow a process to have threads; take one built with thread support");
    check(size_ == wanted, ErrorKind::kUnsupported,
          "{} processes were started together, but MPI knows of {}: start them with the mpirun of the MPI that this "
          "binary was built with, or with srun --mpi=pmix",
          wanted, size_);
  }
  ~MpiRanks() override {
    if (std::uncaught_exceptions() == exceptions_) MPI_Finalize();
  }
  MpiRanks(const MpiRanks&) = delete;
  MpiRanks& operator=(const MpiRanks&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  // MPI promises that all processes receive identical results.
  void all_reduce_sum(Tensor& tensor) override {
    check(tensor.is_contiguous() && (tensor.dtype() == DType::kF32 || tensor.dtype() == DType::kF64),
          "all-reduce: expected a dense f32 or f64 tensor, got {} {}", tensor.dtype(), tensor.shape());
    if (!tensor.is_cpu()) {
      Tensor host = tensor.to(Device::cpu());
      all_reduce_sum(host);
      tensor.copy_from(host.to(tensor.device()));
      return;
    }
    if (tensor.dtype() == DType::kF32)
      reduce(tensor.mutable_data<float>(), tensor.numel(), MPI_FLOAT);
    else
      reduce(tensor.mutable_data<double>(), tensor.numel(), MPI_DOUBLE);
  }

 private:
  template <class T>
  static void reduce(T* values, std::int64_t count, MPI_Datatype type) {
    constexpr std::int64_t kMost = 1 << 30;  // MPI counts with int
    for (std::int64_t first = 0; first < count; first += kMost) {
      const auto part = static_cast<int>(std::min(kMost, count - first));
      check_mpi(MPI_Allreduce(MPI_IN_PLACE, values + first, part, type, MPI_SUM, MPI_COMM_WORLD), "all-reduce");
    }
  }

  int exceptions_, rank_ = 0, size_ = 1;
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

#ifdef USOL_WITH_MPI

bool has_mpi() { return true; }

std::unique_ptr<Communicator> join_ranks() {
  const int wanted = launched_ranks();
  return wanted == 1 ? nullptr : std::make_unique<MpiRanks>(wanted);
}

void abort_ranks(int status) {
  int begun = 0, ended = 0;
  MPI_Initialized(&begun);
  MPI_Finalized(&ended);
  if (begun && !ended) MPI_Abort(MPI_COMM_WORLD, status);
}

#else

bool has_mpi() { return false; }

std::unique_ptr<Communicator> join_ranks() {
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
