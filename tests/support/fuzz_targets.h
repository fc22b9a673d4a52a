#pragma once
// The readers that meet files from anywhere, each as one function over bytes. tests/fuzz/harness.cc hands them to
// libFuzzer, tests/fuzz/replay_test.cc runs them on known inputs. A new reader is one more line in fuzz_targets().

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace usol::test {

struct FuzzTarget {
  std::string_view name;
  /// Reads the bytes and touches all that was read. An Error is the right answer to a bad file and is caught here;
  /// anything else (a crash, another exception) is a finding.
  void (*run)(std::span<const std::uint8_t> input);
  /// Known inputs, good and bad, to start from: those of the golden files.
  std::vector<std::vector<std::uint8_t>> (*seeds)();
};

/// All targets.
const std::vector<FuzzTarget>& fuzz_targets();
/// The target of that name. Throws Error if there is none.
const FuzzTarget& fuzz_target(std::string_view name);

}  // namespace usol::test
