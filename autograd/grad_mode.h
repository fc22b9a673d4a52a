#pragma once
// Whether operations are recorded. Per thread; on by default.

namespace usol {

bool grad_enabled();

/// Turns recording off (or on) while alive.
class GradMode {
 public:
  explicit GradMode(bool enabled);
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool previous_;
};

class NoGrad : public GradMode {
 public:
  NoGrad() : GradMode(false) {}
};

}  // namespace usol
