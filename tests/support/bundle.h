#pragma once
// Bundles: many small files of a generator script in one golden file, each as <u32 name length> <u32 data length>
// <name> <data>, little-endian.

#include <filesystem>
#include <map>
#include <string>

#include "usol/io/shared_bytes.h"

namespace usol::test {

/// The files of tests/golden/<name>, by name.
std::map<std::string, io::SharedBytes> load_bundle(const std::string& name);
/// One of them, written to a file.
void write_bundled(const std::string& name, const std::string& member, const std::filesystem::path& file);

}  // namespace usol::test
