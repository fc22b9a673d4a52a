#include "tests/support/fuzz_targets.h"

#include <cstddef>
#include <initializer_list>
#include <map>
#include <string>

#include "io/checkpoint.h"
#include "io/npy.h"
#include "io/pickle.h"
#include "io/safetensors.h"
#include "io/toml.h"
#include "tensor/check.h"
#include "tests/support/bundle.h"

namespace usol::test {
namespace {

using Input = std::span<const std::uint8_t>;

SharedBytes shared(Input input) {
  const auto bytes = std::as_bytes(input);
  return own_bytes({bytes.begin(), bytes.end()}, "fuzz");
}

/// Reads every element, so that a tensor that points outside of its memory is noticed.
void touch(const Tensor& tensor) {
  if (tensor.numel() <= (std::int64_t{1} << 20)) static_cast<void>(tensor.to(DType::kF64).contiguous());
}
void touch(const std::map<std::string, Tensor>& tensors) {
  for (const auto& item : tensors) touch(item.second);
}

void read_npy(Input input) {
  try {
    touch(parse_npy(shared(input)));
  } catch (const Error&) {
  }
}

void read_safetensors_bytes(Input input) {
  try {
    touch(parse_safetensors(shared(input)).tensors);
  } catch (const Error&) {
  }
}

void read_pickle(Input input) {
  try {
    static_cast<void>(parse_pickle(shared(input)));
  } catch (const Error&) {
  }
}

/// Any file of weights, .pth in both containers among them.
void read_checkpoint(Input input) {
  try {
    touch(parse_checkpoint(shared(input)).tensors);
  } catch (const Error&) {
  }
}

void read_toml_text(Input input) {
  try {
    static_cast<void>(parse_toml({reinterpret_cast<const char*>(input.data()), input.size()}, "fuzz"));
  } catch (const Error&) {
  }
}

std::vector<std::vector<std::uint8_t>> bundle_seeds(std::initializer_list<const char*> bundles) {
  std::vector<std::vector<std::uint8_t>> seeds;
  for (const char* bundle : bundles) {
    for (const auto& [name, file] : load_bundle(bundle)) {
      if (name.ends_with(".error")) continue;
      const auto* data = reinterpret_cast<const std::uint8_t*>(file.bytes.data());
      seeds.emplace_back(data, data + file.size());
    }
  }
  return seeds;
}
// The bundles of weights hold PyTorch files and pickles, and their expected contents as safetensors.
std::vector<std::vector<std::uint8_t>> weights_seeds() {
  return bundle_seeds({"weights_1.13.1.bin", "weights_2.15.0.bin"});
}
std::vector<std::vector<std::uint8_t>> npy_seeds() { return bundle_seeds({"npy.bin"}); }
std::vector<std::vector<std::uint8_t>> toml_seeds() {
  std::vector<std::vector<std::uint8_t>> seeds;
  for (const std::string_view text :
       {"tau = 0.15 # c\n[maskcut]\nout = \"a\\u00e9\\n\"\ninputs = ['a', \"b\", # c\n]\r\n",
        "a.b.\"c\" = [1_0, -inf, true]"}) {
    seeds.emplace_back(text.begin(), text.end());
  }
  return seeds;
}

}  // namespace

const std::vector<FuzzTarget>& fuzz_targets() {
  static const std::vector<FuzzTarget> targets = {{"checkpoint", read_checkpoint, weights_seeds},
                                                  {"npy", read_npy, npy_seeds},
                                                  {"pickle", read_pickle, weights_seeds},
                                                  {"safetensors", read_safetensors_bytes, weights_seeds},
                                                  {"toml", read_toml_text, toml_seeds}};
  return targets;
}

const FuzzTarget& fuzz_target(std::string_view name) {
  for (const FuzzTarget& target : fuzz_targets()) {
    if (target.name == name) return target;
  }
  fail(ErrorKind::kInvalidArgument, fmt::format("no fuzz target '{}'", name));
}

}  // namespace usol::test
