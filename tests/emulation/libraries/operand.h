#pragma once
// What a library is given: elements at fixed strides behind a pointer. Whether they lie inside one block of device
// memory, and their values.

#include <cstdint>
#include <string>
#include <vector>

#include "usol/tensor/dtype.h"
#include "usol/tensor/shape.h"

namespace emulation {

struct Operand {
  std::string name;
  void* data = nullptr;
  usol::DType dtype = usol::DType::kF32;
  usol::Shape dims, strides;  // in elements

  bool operator==(const Operand&) const = default;
};

/// What is wrong with these operands, the last of which is written and may be the same as another but not overlap it
/// otherwise: elements outside of a block, two in one place, misaligned elements. Empty if nothing is.
std::string fault_of(const std::vector<Operand>& operands);

/// All elements, row-major in the order of the dimensions. A is float or double.
template <class A>
std::vector<A> load(const Operand& from);
template <class A>
void store(const std::vector<A>& values, const Operand& to);

/// The value that a tensor core sees of an f32: 10 bits of mantissa, to nearest, ties to even.
float to_tf32(float value);

/// Says on stderr what a library's call was refused for.
void report(const char* call, const std::string& fault);

}  // namespace emulation
