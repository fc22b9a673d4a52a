#pragma once
// Eigenpairs of a symmetric matrix by Jacobi rotations.

#include <cstdint>
#include <vector>

namespace emulation {

struct Eigenpairs {
  std::vector<double> values;   // ascending
  std::vector<double> vectors;  // a row each
};
/// Of a dense symmetric n x n matrix.
Eigenpairs eigenpairs(std::vector<double> a, std::int64_t n);

}  // namespace emulation
