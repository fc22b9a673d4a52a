#include "usol/cli/signals.h"

#include <csignal>

#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

volatile std::sig_atomic_t g_signal = 0;

void on_signal(int number) {
  if (g_signal != 0 && number == SIGINT) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
  }
  if (g_signal == 0) g_signal = number;
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

void throw_if_interrupted() {
  const int number = pending_signal();
  check(number == 0, ErrorKind::kInterrupted, "stopped by signal {}", number);
}

}  // namespace usol::cli
