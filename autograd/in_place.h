#pragma once
// Which gradients may be written to during backward(), so that they need neither a copy nor fresh memory.

#include "usol/tensor/layout.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// True if this handle is the only one on its memory, and each element a number of its own.
inline bool sole_owner(const Tensor& t) {
  if (t.storage().use_count() > 1) return false;
  for (int d = 0; d < t.rank(); ++d)
    if (t.strides()[d] == 0 && t.size(d) > 1) return false;
  return true;
}

/// For a vjp's result of grad's shape that is made element by element: grad itself if nobody else holds its memory,
/// which is then neither fresh nor one more to go through, and a new tensor in the same order otherwise. `grad` is the
/// vjp's own argument, not a copy of that handle.
inline Tensor in_place_of(const Tensor& grad) { return sole_owner(grad) ? grad : empty_like(grad); }

}  // namespace usol
