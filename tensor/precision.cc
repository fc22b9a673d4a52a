#include "usol/tensor/precision.h"

#include <utility>

namespace usol {
namespace {

thread_local bool allowed_now = false;

}  // namespace

bool tf32_allowed() { return allowed_now; }

Tf32Mode::Tf32Mode(bool allowed) : previous_(std::exchange(allowed_now, allowed)) {}
Tf32Mode::~Tf32Mode() { allowed_now = previous_; }

}  // namespace usol
