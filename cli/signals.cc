#include "usol/cli/signals.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <string_view>

#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

constexpr std::int64_t kOneRequestNs = 300'000'000;  // what comes within it is the same request

std::atomic<int> g_signal{0};             // that asks for a stop
std::atomic<std::int64_t> g_asked_ns{0};  // when SIGINT or SIGTERM first came here; 0: not yet
std::atomic<bool> g_answered = false, g_speaks = true, g_on_terminal = false;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free &&
                  std::atomic<bool>::is_always_lock_free,
              "a signal handler changes them");

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Says that the signal has come, unless stderr has no room for it: a handler must not wait.
void answer(int number) {
  if (!g_speaks || g_answered.exchange(true)) return;
  const auto say = [](std::string_view text) {
    pollfd entry{STDERR_FILENO, POLLOUT, 0};
    if (poll(&entry, 1, 0) == 1) static_cast<void>(write(STDERR_FILENO, text.data(), text.size()) < 0);
  };
  if (g_on_terminal) say("\r\x1b[K");  // the line that shows how far the work is
  say(number == SIGUSR1 ? "stopping: what is in hand is finished and saved first\n"
                        : "stopping: what is in hand is finished and saved first; once more ends it at once\n");
}

void on_signal(int number) {
  const int error = errno;
  if (number != SIGUSR1) {
    const std::int64_t now = now_ns();
    std::int64_t first = 0;
    if (!g_asked_ns.compare_exchange_strong(first, now) && now - first > kOneRequestNs) {
      std::signal(number, SIG_DFL);
      std::raise(number);  // takes effect when this handler returns
    }
  }
  answer(number);
  note_signal(number);
  errno = error;
}

}  // namespace

void install_signal_handlers(bool speaks) {
  g_speaks = speaks;
  g_on_terminal = isatty(STDERR_FILENO) == 1;
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

}  // namespace usol::cli
