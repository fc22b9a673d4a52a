#include "usol/ops/random.h"

#include <array>
#include <utility>

#include "usol/ops/random_math.h"
#include "usol/tensor/check.h"
#include "usol/tensor/parallel.h"

namespace usol {

constinit Kernel<void(Distribution, const RandomState&, double, double, Tensor&)> random_kernel{"random"};

namespace {

Tensor draw(const char* name, Distribution distribution, int positions, const Shape& shape, Generator& generator,
            double a, double b, DType dtype, Device device) {
  check(is_floating(dtype), "{}: expected a floating dtype, got {}", name, dtype);
  Tensor out = Tensor::empty(shape, dtype, device);
  const auto count = static_cast<std::uint64_t>(out.numel()) * static_cast<std::uint64_t>(positions);
  const RandomState state{generator.seed(), generator.stream(), generator.reserve(count)};
  if (out.numel() > 0) random_kernel(device, distribution, state, a, b, out);
  return out;
}

}  // namespace

Tensor uniform(const Shape& shape, Generator& generator, double low, double high, DType dtype, Device device) {
  return draw("uniform", Distribution::kUniform, 1, shape, generator, low, high, dtype, device);
}

Tensor normal(const Shape& shape, Generator& generator, double mean, double std, DType dtype, Device device) {
  return draw("normal", Distribution::kNormal, 2, shape, generator, mean, std, dtype, device);
}

Tensor random_permutation(std::int64_t n, Generator& generator) {
  Tensor out = Tensor::arange(n);
  std::int64_t* data = out.mutable_data<std::int64_t>();
  for (std::int64_t i = n - 1; i > 0; --i) std::swap(data[i], data[generator.below(static_cast<std::uint64_t>(i) + 1)]);
  return out;
}

namespace {

// The words of a stream one after the other, four to a block.
class Words {
 public:
  Words(const RandomState& state, std::uint64_t position) : state_(state), position_(position) {}
  std::uint32_t next() {
    if (position_ % 4 == 0 || !filled_) {
      const std::uint64_t block = position_ / 4;
      words_ = philox({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                       static_cast<std::uint32_t>(state_.stream), static_cast<std::uint32_t>(state_.stream >> 32)},
                      state_.seed);
      filled_ = true;
    }
    return words_[position_++ % 4];
  }

 private:
  RandomState state_;
  std::uint64_t position_;
  std::array<std::uint32_t, 4> words_{};
  bool filled_ = false;
};

void random_cpu(Distribution distribution, const RandomState& state, double a, double b, Tensor& out) {
  dispatch_floating(out.dtype(), "random", [&]<class T>() {
    using A = Accumulator<T>;
    T* to = out.mutable_data<T>();
    parallel_for(0, out.numel(), 8192, [&](std::int64_t first, std::int64_t end) {
      const auto start = static_cast<std::uint64_t>(first);
      if (distribution == Distribution::kUniform) {
        Words words(state, state.first + start);
        for (std::int64_t i = first; i < end; ++i) to[i] = T(A(random::uniform(a, b, words.next())));
      } else {
        Words words(state, state.first + 2 * start);
        for (std::int64_t i = first; i < end; ++i) {
          const std::uint32_t word0 = words.next(), word1 = words.next();
          to[i] = T(A(random::normal(a, b, word0, word1)));
        }
      }
    });
  });
}

const Register r_random(random_kernel, DeviceType::kCpu, random_cpu);

}  // namespace
}  // namespace usol
