#pragma once
// For threads that are many themselves, each with a piece of work of its own.

namespace usol {

/// While alive, parallel_for(), parallel_for_each() and the libraries under the CPU's ops use the calling thread alone.
class SerialScope {
 public:
  SerialScope();
  ~SerialScope();
  SerialScope(const SerialScope&) = delete;
  SerialScope& operator=(const SerialScope&) = delete;

 private:
  int previous_;
};

}  // namespace usol
