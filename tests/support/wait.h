#pragma once
// Waiting for what a child process has done, as it is seen on the disk: never for a time. And signals to it.

#include <sys/wait.h>

#include <chrono>
#include <csignal>
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

/// Sends a signal to one process; false if there is none (-1 would mean all of them to kill()).
inline bool send_signal(pid_t process, int signal) { return process > 0 && kill(process, signal) == 0; }

}  // namespace usol::test
