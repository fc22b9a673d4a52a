#include "usol/tensor/error.h"

namespace usol {

void fail(ErrorKind kind, const std::string& message) { throw Error(kind, message); }

}  // namespace usol
