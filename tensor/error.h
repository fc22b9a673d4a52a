#pragma once
// The one exception type of the library, and the checks that throw it.
// The library never aborts, exits or prints: every failure is an Error with a kind the caller can act on.

#include <stdexcept>
#include <string>
#include <string_view>

namespace usol {

enum class ErrorKind {
  kUsage,            // the user asked for something contradictory or unknown (exit status 2)
  kExists,           // a result is in the way that the caller has not said to replace or go on with (2)
  kOtherSettings,    // what is to be gone on with was made with other settings (2)
  kOtherVersion,     // ... or by a version of usol that wrote something else (2)
  kInvalidArgument,  // a function was called with shapes, dtypes or values it does not take
  kIo,               // a file could not be opened, read or written
  kFormat,           // a file is malformed
  kUnsupported,      // valid, but this build, device or version cannot do it
  kOutOfMemory,
  kDevice,       // CUDA or a library on it failed
  kInterrupted,  // a signal asked us to stop
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

/// Throws Error(kind, message). Out of line, so that the throwing path costs callers no code.
[[noreturn]] void fail(ErrorKind kind, const std::string& message);

}  // namespace usol
