#pragma once
// A log that a test can read.

#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "usol/pipeline/run.h"

namespace usol::test {

class KeptLog : public LogSink {
 public:
  void line(std::string_view text) override {
    const std::lock_guard lock(mutex_);
    text_ += text;
    text_ += '\n';
  }
  /// All lines so far.
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

/// A run like a program's own, with a log to look at.
struct LoggedRun {
  std::shared_ptr<KeptLog> log = std::make_shared<KeptLog>();
  Run run;
  LoggedRun() { run.log = log; }
};

}  // namespace usol::test
