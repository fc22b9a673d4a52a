#pragma once
// Messages on stderr: one writer, so that notes of several threads and the progress line do not run into each other.

#include <mutex>
#include <string>
#include <string_view>

namespace usol {

class Console {
 public:
  Console();
  /// True if stderr is a terminal that can redraw a line.
  bool is_terminal() const { return is_terminal_; }
  /// Columns of the terminal (80 if unknown).
  int columns() const;
  /// Writes one line; a progress line below it is drawn again.
  void line(std::string_view text);
  /// Replaces the progress line of a terminal (one line, no newline); empty removes it.
  void set_progress(const std::string& text);

 private:
  void write(std::string_view text);

  bool is_terminal_;
  std::mutex mutex_;
  std::string progress_;
};

}  // namespace usol
