#pragma once
// Where the messages of a long job go: a terminal, a file, a program's own log.

#include <string>
#include <string_view>

namespace usol {

/// Called from several threads; implementations keep lines whole.
class LogSink {
 public:
  virtual ~LogSink() = default;
  /// A line for people, without its end.
  virtual void line(std::string_view text) = 0;
  /// True if progress() is seen: a terminal. Otherwise progress comes as a line now and then.
  virtual bool shows_progress() const { return false; }
  /// Replaces the line that shows how far the work is; an empty text removes it.
  virtual void set_progress(const std::string& /*text*/) {}
  /// Characters that fit into that line.
  virtual int columns() const { return 80; }
};

/// Takes no notice.
class SilentLog : public LogSink {
 public:
  void line(std::string_view) override {}
};

}  // namespace usol
