#include "usol/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "usol/tensor/check.h"

namespace usol::train {
namespace {

double multistep(const Schedule& s, std::int64_t iteration) {
  const auto passed = std::upper_bound(s.steps.begin(), s.steps.end(), iteration) - s.steps.begin();
  return std::pow(s.gamma, static_cast<double>(passed));
}

}  // namespace

void Schedule::check_valid() const {
  check(std::isfinite(learning_rate) && learning_rate > 0, ErrorKind::kUsage,
        "schedule: expected a learning rate above 0, got {}", learning_rate);
  check(iterations > 0, ErrorKind::kUsage, "schedule: expected at least one iteration, got {}", iterations);
  check(warmup >= 0 && warmup_factor >= 0 && warmup_factor <= 1, ErrorKind::kUsage,
        "schedule: expected a warm-up of 0 iterations or more from a factor of 0 to 1, got {} and {}", warmup,
        warmup_factor);
  check(std::isfinite(gamma) && gamma > 0, ErrorKind::kUsage, "schedule: expected gamma above 0, got {}", gamma);
  for (std::size_t i = 0; i < steps.size(); ++i)
    check(steps[i] > 0 && (i == 0 || steps[i] > steps[i - 1]), ErrorKind::kUsage,
          "schedule: expected ascending steps above 0, got {} as number {}", steps[i], i + 1);
}

double Schedule::rate(std::int64_t iteration) const {
  if (iteration >= warmup) return learning_rate * multistep(*this, iteration);
  const double part = static_cast<double>(iteration) / static_cast<double>(warmup);
  const double start = warmup_factor * multistep(*this, 0), end = multistep(*this, warmup);
  return learning_rate * (end * part + start * (1 - part));
}

std::int64_t scaled_iterations(std::int64_t iterations, std::int64_t batch, std::int64_t reference) {
  check(batch > 0 && reference > 0, "schedule: expected batches above 0, got {} and {}", batch, reference);
  const double exact = static_cast<double>(iterations) * static_cast<double>(reference) / static_cast<double>(batch);
  const auto rounded = static_cast<std::int64_t>(std::nearbyint(exact));
  return iterations > 0 ? std::max<std::int64_t>(rounded, 1) : rounded;
}

Schedule scaled(const Schedule& schedule, std::int64_t batch, std::int64_t reference) {
  Schedule result = schedule;
  result.iterations = scaled_iterations(schedule.iterations, batch, reference);
  result.warmup = scaled_iterations(schedule.warmup, batch, reference);
  for (std::int64_t& step : result.steps) step = scaled_iterations(step, batch, reference);
  result.learning_rate = schedule.learning_rate * static_cast<double>(batch) / static_cast<double>(reference);
  return result;
}

double CosineSchedule::value(std::int64_t iteration) const {
  if (iteration < warmup)
    return warmup == 1 ? 0 : first * static_cast<double>(iteration) / static_cast<double>(warmup - 1);
  const double part = static_cast<double>(iteration - warmup) / static_cast<double>(iterations - warmup);
  return last + 0.5 * (first - last) * (1 + std::cos(std::numbers::pi * part));
}

}  // namespace usol::train
