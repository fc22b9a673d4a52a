#pragma once
// Training in several processes, started together by mpirun or srun: the Communicator that SyncBN, losses and gradients
// add up through, over MPI. distributed.cc is the only file that knows MPI.

#include <chrono>
#include <memory>

#include "usol/ops/all_reduce.h"

namespace usol::train {

/// True if this build has MPI.
bool has_mpi();

/// How many processes a launcher (mpirun, srun) says it has started together with this one; 1 if none says so.
int launched_ranks();

/// This process's number among those that the launcher started on the same machine; 0 if none says so. Processes that
/// see several GPUs take the one of this number.
int local_rank();

/// Requests to stop, which one process of a group may get alone. Both functions are called from any thread.
struct StopSignals {
  /// The number of the signal that asked this process to stop; 0 if none did.
  int (*caught)() = nullptr;
  /// Another process was asked to, by this signal: as if it had come to this one.
  void (*told)(int number) = nullptr;
};

/// How long a process that was asked to stop waits for the others, which finish what they have in hand. One that was
/// asked by SIGUSR1, of which batch systems send a warning long before they end a job, waits for as long as it takes.
inline constexpr std::chrono::seconds kStopPatience{30};

/// The processes that a launcher started together with this one, joined; null if this one is alone. Waits for all of
/// them; call it once, in the main thread, the only one to use the result. Sums that are started travel in a thread of
/// their own. With `signals`, a request to stop reaches all processes wherever it came in, within about a tenth of a
/// second; a sum whose other processes do not come within kStopPatience of it throws Error(kInterrupted). The end of
/// the returned object leaves the group, unless an exception is on its way: then abort_ranks() is due. Tensors on a
/// device travel through host memory, except sums that are started in a CUDA binary with NCCL: those go from GPU to
/// GPU, of which each process must have its own. Throws Error(kUnsupported) with the remedy if there are several
/// processes and this build has no MPI, or MPI does not know of them or lacks MPI_THREAD_MULTIPLE.
std::unique_ptr<Communicator> join_ranks(const StopSignals& signals = {});

/// Ends all processes of the group with this exit status, and does not return; does nothing in a process that is alone
/// or has left the group. For an error that the others cannot know of.
void abort_ranks(int status);

}  // namespace usol::train
