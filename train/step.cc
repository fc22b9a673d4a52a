#include "usol/train/step.h"

#include <cmath>

#include "usol/autograd/tape.h"

namespace usol::train {

void LossScale::update(bool good) {
  if (!good) {
    factor *= kBackoff;
    good_steps = 0;
  } else if (++good_steps == kGrowthInterval) {
    factor *= kGrowth;
    good_steps = 0;
  }
}

bool collect_gradients(std::int64_t passes, double factor, Optimizer& optimizer, GradientSums* sums, StepReport& report,
                       const std::function<Tensor(std::int64_t)>& loss) {
  for (std::int64_t i = 0; i < passes; ++i) {
    Tensor total;
    {
      const AddTime time(report.seconds.forward);
      total = loss(i);
    }
    if (!std::isfinite(report.total)) {
      // The optimiser may go on with what there is, so all ranks must have the same.
      if (i > 0 && sums) sums->finish();
      return false;
    }
    if (i == 0) optimizer.zero_grad();
    if (sums && i + 1 == passes) sums->expect_last_backward();
    const AddTime time(report.seconds.backward);
    backward(total, Tensor::full(total.shape(), factor, total.dtype(), total.device()));
  }
  const AddTime time(report.seconds.backward);
  if (sums) sums->finish();
  return true;
}

}  // namespace usol::train
