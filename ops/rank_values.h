#pragma once
// Single numbers of all processes that train together: counts to divide losses by, sizes, flags. Built on the one thing
// that a Communicator can do.

#include <vector>

#include "usol/ops/all_reduce.h"

namespace usol {

/// Every rank's value, by rank; only `value` without ranks. Every rank must ask.
std::vector<double> of_all_ranks(double value, Communicator* ranks);
/// Every rank's values, however many each has, one rank after the other.
std::vector<double> gather_values(const std::vector<double>& values, Communicator* ranks);
/// The sum of every rank's value: the same bits on every rank.
double sum_over_ranks(double value, Communicator* ranks);
/// The largest of every rank's value.
double max_over_ranks(double value, Communicator* ranks);

}  // namespace usol
