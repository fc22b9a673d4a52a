#pragma once
// Waiting for what a child process has done, as it is seen on the disk: never for a time. Signals to it, and files that
// hold it.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
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

/// True if a process has a handler for the signal and did next to nothing for a while: it waits.
inline bool waits_for_a_signal(pid_t process, int signal) {
  const std::string folder = "/proc/" + std::to_string(process);
  std::ifstream status(folder + "/status");
  for (std::string key, value; status >> key;) {
    if (key != "SigCgt:") continue;
    status >> value;
    if ((std::stoull(value, nullptr, 16) >> (signal - 1) & 1) == 0) return false;
  }
  // Hundredths of a second that it has run; -1 while it runs.
  const auto ran = [&] {
    std::string text, word;
    std::getline(std::ifstream(folder + "/stat"), text);
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    fields >> word;
    if (word != "S") return -1L;
    for (int i = 0; i < 10; ++i) fields >> word;
    long user = 0, system = 0;
    fields >> user >> system;
    return user + system;
  };
  const long before = ran();
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  return before >= 0 && ran() == before;
}

/// Sends a signal to one process; false if there is none (-1 would mean all of them to kill()).
inline bool send_signal(pid_t process, int signal) { return process > 0 && kill(process, signal) == 0; }

/// A file that others cannot open while this exists: they wait in open(). (The system ends such a wait after 45 s.)
class HeldFile {
 public:
  /// The file must exist, and nobody may have it open.
  explicit HeldFile(const std::filesystem::path& path) : file_(open(path.c_str(), O_RDWR | O_CLOEXEC)) {
    std::signal(SIGIO, SIG_IGN);  // comes when someone waits
    held_ = file_ >= 0 && fcntl(file_, F_SETLEASE, F_WRLCK) == 0;
  }
  ~HeldFile() { release(); }
  HeldFile(const HeldFile&) = delete;
  HeldFile& operator=(const HeldFile&) = delete;
  /// False where the file system has no leases.
  bool held() const { return held_; }
  void release() {
    if (file_ >= 0) close(file_);
    file_ = -1;
  }

 private:
  int file_;
  bool held_ = false;
};

}  // namespace usol::test
