#pragma once
// Whether f32 products and convolutions on CUDA may round their inputs to TF32 (10 bits of mantissa), which is several
// times faster. Per thread; off by default (docs/numerics.md).

namespace usol {

bool tf32_allowed();

/// Allows (or forbids) TF32 while alive.
class Tf32Mode {
 public:
  explicit Tf32Mode(bool allowed);
  ~Tf32Mode();
  Tf32Mode(const Tf32Mode&) = delete;
  Tf32Mode& operator=(const Tf32Mode&) = delete;

 private:
  bool previous_;
};

}  // namespace usol
