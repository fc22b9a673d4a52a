// The fuzz targets on their known inputs and on random changes of them: they must return, whatever the bytes.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <string>

#include "tests/support/fuzz_targets.h"
#include "tests/support/golden.h"
#include "usol/io/shared_bytes.h"

namespace usol::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

/// A few changes like a fuzzer's: flipped bits, extreme bytes, parts cut out, doubled or moved.
Bytes mutate(Bytes bytes, std::mt19937& random) {
  const auto below = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
  for (std::size_t change = 1 + below(4); change > 0 && !bytes.empty(); --change) {
    const std::size_t at = below(bytes.size()), length = std::min(bytes.size() - at, 1 + below(16));
    const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    const auto last = first + static_cast<std::ptrdiff_t>(length);
    switch (below(6)) {
      case 0:
        bytes[at] ^= static_cast<std::uint8_t>(1u << below(8));
        break;
      case 1:
        bytes[at] = static_cast<std::uint8_t>(below(256));
        break;
      case 2:
        std::fill(first, last, below(2) == 0 ? 0xff : 0x00);
        break;
      case 3:
        bytes.erase(first, last);
        break;
      case 4: {
        const Bytes part(first, last);
        bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size())), part.begin(), part.end());
        break;
      }
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

// tests/fuzz/findings/TARGET-WHAT: inputs that a fuzzer once found, kept after the fix.
TEST(Fuzz, FindingsStayFixed) {
  int replayed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/fuzz/findings"))) {
    const std::string name = entry.path().filename().string();
    SCOPED_TRACE(name);
    const auto bytes = io::map_file(entry.path());
    const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.bytes.data());
    fuzz_target(name.substr(0, name.find('-'))).run({data, bytes.size()});
    ++replayed;
  }
  EXPECT_GT(replayed, 0);
}

TEST(Fuzz, TargetsSurviveTheirSeedsAndRandomChangesOfThem) {
  std::mt19937 random(1);
  for (const FuzzTarget& target : fuzz_targets()) {
    SCOPED_TRACE(target.name);
    const auto seeds = target.seeds();
    ASSERT_FALSE(seeds.empty());
    target.run({});
    for (const Bytes& seed : seeds) {
      target.run(seed);
      if (seed.size() > 20000) continue;  // the large ones are slow and differ from the small ones in size only
      for (int i = 0; i < 10; ++i) target.run(mutate(seed, random));
    }
  }
}

}  // namespace
}  // namespace usol::test
