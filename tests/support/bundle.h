#pragma once
// Bundles: many small files of a generator script in one golden file, each as <u32 name length> <u32 data length>
// <name> <data>, little-endian.

#include <map>
#include <string>

#include "usol/io/shared_bytes.h"

namespace usol::test {

/// The files of tests/golden/<name>, by name.
std::map<std::string, io::SharedBytes> load_bundle(const std::string& name);

}  // namespace usol::test
