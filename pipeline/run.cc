#include "usol/pipeline/run.h"

#include "usol/ops/rank_values.h"
#include "usol/tensor/check.h"

namespace usol {

void Run::throw_if_stopped() const {
  const int reason = stop_asked();
  check(reason == 0, ErrorKind::kInterrupted, "stopped by signal {}", reason);
}

bool Run::leads() const { return !ranks || ranks->rank() == 0; }

int Run::by_leader(const std::function<int()>& work) const {
  return static_cast<int>(sum_over_ranks(leads() ? work() : 0, ranks));
}

}  // namespace usol
