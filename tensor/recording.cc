#include "usol/tensor/recording.h"

namespace usol {
namespace {

thread_local Recording here;

}  // namespace

Recording& recording() { return here; }

}  // namespace usol
