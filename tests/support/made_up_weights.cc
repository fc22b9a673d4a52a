#include "tests/support/made_up_weights.h"

#include <cmath>
#include <cstdint>
#include <sstream>

#include "tests/support/bundle.h"
#include "usol/io/safetensors.h"

namespace usol::test {

Tensor made_up(const std::string& name, const Shape& shape, double offset, double scale) {
  std::uint32_t seed = 2166136261u;
  for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 16777619u;
  Tensor tensor = Tensor::empty(shape);
  auto* values = tensor.mutable_data<float>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    std::uint32_t x = (static_cast<std::uint32_t>(i) * 0x9E3779B1u) ^ seed;
    x = (x ^ x >> 16) * 0x85EBCA6Bu;
    x = (x ^ x >> 13) * 0xC2B2AE35u;
    x ^= x >> 16;
    values[i] = static_cast<float>(offset + scale * (std::ldexp(static_cast<double>(x), -32) - 0.5));
  }
  return tensor;
}

StateDict made_up_file(const std::string& bundle, const std::string& layout) {
  const io::SharedBytes lines = load_bundle(bundle).at(layout + ".tensors");
  std::istringstream text(std::string(reinterpret_cast<const char*>(lines.bytes.data()), lines.size()));
  StateDict state;
  for (std::string line; std::getline(text, line);) {
    std::istringstream words(line);
    std::string name;
    double offset = 0, scale = 0;
    words >> name >> offset >> scale;
    Shape shape;
    for (std::int64_t size = 0; words >> size;) shape.push_back(size);
    state[name] = made_up(name, shape, offset, scale);
  }
  return state;
}

StateDict made_up_outputs(const std::string& bundle, const std::string& layout) {
  return io::parse_safetensors(load_bundle(bundle).at(layout + ".outputs")).tensors;
}

}  // namespace usol::test
