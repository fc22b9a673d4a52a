#pragma once
// Waiting for what a child process has done, as it is seen on the disk: never for a time.

#include <sys/wait.h>

#include <chrono>
#include <functional>
#include <thread>

namespace usol::test {

/// True until the child has ended; its status stays to be asked for.
inline bool running(pid_t child) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

/// Waits until `there` says yes; false if the child has ended before.
inline bool wait_until(const std::function<bool()>& there, pid_t child) {
  while (!there()) {
    if (!running(child)) return there();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace usol::test
