#pragma once
// In which order the emulated device does what is queued. A real one may run the streams' work in any order that events
// and waits leave open, and the warps of a block, too; here a seed chooses, so that a fault can be found again.

#include <cstdint>
#include <string>

namespace emulation {

struct Schedule {
  /// USOL_EMULATION_SEED. 0: nothing runs before somebody waits for it; others also let work run early, some seldom,
  /// some often.
  std::uint64_t seed = 0;
  /// False: everything is done when the call returns, blocks and threads run in order of their index, as a device never
  /// promises. Only to show what this hides.
  bool lazy = true;
};

/// From now on; what is queued is done first.
void set_schedule(const Schedule& schedule);
const Schedule& schedule();
/// False: nothing is computed, filled or copied from now on; launches and what libraries are given are only checked. So
/// networks of full size go through in no time, with values that mean nothing.
void set_arithmetic(bool on);
/// A kernel that failed makes every later wait fail, until this is called.
void forget_failure();
/// A number below `bound`, from the seed.
std::uint64_t choose(std::uint64_t bound);

}  // namespace emulation
