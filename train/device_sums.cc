#include "usol/train/device_sums.h"

namespace usol::train {
namespace {

const DeviceSumsLibrary* the_library = nullptr;

}  // namespace

const DeviceSumsLibrary* device_sums_library() { return the_library; }
void set_device_sums_library(const DeviceSumsLibrary* library) { the_library = library; }

}  // namespace usol::train
