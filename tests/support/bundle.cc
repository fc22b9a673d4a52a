#include "tests/support/bundle.h"

#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/support/golden.h"
#include "usol/io/atomic_file.h"

namespace usol::test {

std::map<std::string, io::SharedBytes> load_bundle(const std::string& name) {
  const io::SharedBytes all = io::map_file(golden_path(name));
  std::map<std::string, io::SharedBytes> files;
  for (std::size_t at = 0; at < all.size();) {
    std::uint32_t lengths[2];
    std::memcpy(lengths, all.slice(at, 8).bytes.data(), 8);
    const auto key = all.slice(at + 8, lengths[0]).bytes;
    const auto data = all.slice(at + 8 + lengths[0], lengths[1]).bytes;
    const std::string file_name(reinterpret_cast<const char*>(key.data()), key.size());
    files[file_name] = io::own_bytes({data.begin(), data.end()}, file_name);
    at += 8 + lengths[0] + lengths[1];
  }
  return files;
}

void write_bundled(const std::string& name, const std::string& member, const std::filesystem::path& file) {
  io::write_file(file, load_bundle(name).at(member).bytes);
}

}  // namespace usol::test
