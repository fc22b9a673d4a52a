#include "usol/cli/signals.h"

#include <atomic>
#include <csignal>

#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

std::atomic<int> g_signal{0};        // that asks for a stop
std::atomic<bool> g_caught = false;  // here, and not in another process
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free,
              "a signal handler changes them");

void on_signal(int number) {
  if (g_caught.exchange(true) && number == SIGINT) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
  }
  note_signal(number);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) sigaction(number, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  io::set_stop_check([] { return g_signal != 0; });
}

int pending_signal() { return g_signal; }

void note_signal(int number) {
  int none = 0;
  g_signal.compare_exchange_strong(none, number);
}

void throw_if_interrupted() {
  const int number = pending_signal();
  check(number == 0, ErrorKind::kInterrupted, "stopped by signal {}", number);
}

}  // namespace usol::cli
