#pragma once
// Messages on stderr: one writer, so that notes of several threads and the progress line do not run into each other.

#include <mutex>
#include <string>
#include <string_view>

#include "usol/pipeline/log.h"

namespace usol::cli {

class Console : public LogSink {
 public:
  Console();
  /// Writes one line; a progress line below it is drawn again.
  void line(std::string_view text) override;
  /// True if stderr is a terminal that can redraw a line.
  bool shows_progress() const override { return is_terminal_; }
  void set_progress(const std::string& text) override;
  /// Columns of the terminal (80 if unknown).
  int columns() const override;

 private:
  void write(std::string_view text);

  bool is_terminal_;
  std::mutex mutex_;
  std::string progress_;
};

}  // namespace usol::cli
