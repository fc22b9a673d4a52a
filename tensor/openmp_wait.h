#pragma once
// How the threads of OpenMP wait for each other. oneDNN's and Eigen's products run on them.

namespace usol {

/// From now on, threads of OpenMP (GCC's libgomp) that wait in this process sleep after microseconds instead of looking
/// for milliseconds whether the others are there. So two threads beside a busy process do not take the time from each
/// other that they wait for. For programs: it holds for all OpenMP of the process, which is why the library does not do
/// it by itself. Call it after set_thread_count(). Does nothing where OMP_WAIT_POLICY or GOMP_SPINCOUNT is set, and
/// nothing the second time.
void let_openmp_sleep();

}  // namespace usol
