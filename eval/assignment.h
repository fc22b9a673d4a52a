#pragma once
// The linear assignment problem: rows and columns paired so that the sum of the pairs' costs is least.
// Place: groups without names meet the truth's categories (eval/clusters.h).
// Source: Jonker and Volgenant 1987, for tables that need not be square as in Crouse 2016; SciPy's
// linear_sum_assignment finds the same sums.

#include <cstdint>
#include <span>
#include <vector>

namespace usol::eval {

/// Pairs rows[i], columns[i], rows ascending; as many as the smaller side has.
struct Assignment {
  std::vector<std::int64_t> rows, columns;
};

/// costs: row-major [rows, columns], finite. The pairs whose sum is least. Throws Error on other sizes and numbers.
Assignment least_assignment(std::span<const double> costs, std::int64_t rows, std::int64_t columns);
/// The pairs whose sum is largest.
Assignment largest_assignment(std::span<const double> gains, std::int64_t rows, std::int64_t columns);

}  // namespace usol::eval
