#include "usol/cli/console.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <span>

#include "usol/io/wait.h"
#include "usol/tensor/error.h"

namespace usol::cli {

Console::Console() {
  const char* term = std::getenv("TERM");
  is_terminal_ = isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

int Console::columns() const {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void Console::line(std::string_view text) {
  const std::lock_guard lock(mutex_);
  std::string out = progress_.empty() ? "" : "\r\x1b[K";
  out += text;
  out += '\n';
  write(out + progress_);
}

void Console::set_progress(const std::string& text) {
  if (!is_terminal_) return;
  const std::lock_guard lock(mutex_);
  if (text.empty() && progress_.empty()) return;
  progress_ = text;
  write("\r\x1b[K" + text);
}

void Console::write(std::string_view text) {
  try {
    io::write_all(STDERR_FILENO, std::as_bytes(std::span(text)), "stderr");
  } catch (const Error&) {
    // Nobody reads, or a signal has ended the wait for someone who does not: there is no one left to tell.
  }
}

}  // namespace usol::cli
