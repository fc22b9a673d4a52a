#pragma once
// Initialisers, with PyTorch's definitions of fan-in and fan-out (weights are [out, in, kernel...]).

#include "usol/nn/param_store.h"

namespace usol::init {

Initializer constant(float value);
inline Initializer zeros() { return constant(0); }
inline Initializer ones() { return constant(1); }
/// U(-bound, bound).
Initializer uniform(double bound);
/// N(0, std^2).
Initializer normal(float std);
/// N(0, std^2) cut at -2 and 2 (not at two standard deviations), as ViTs use it.
Initializer trunc_normal(float std);
/// U(-b, b), b = sqrt(6 / ((1 + a^2) fan_in)). Source: He et al. 2015; a = 1 is Caffe2's "Xavier fill".
Initializer kaiming_uniform(float a);
/// N(0, 2 / fan_out). Source: He et al. 2015.
Initializer kaiming_normal_fan_out();

}  // namespace usol::init
