// The host's side of a batch: what goes to the device and what comes back.
#include "usol/maskcut/krylov_batch.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "usol/tensor/check.h"

namespace usol::maskcut {

constinit Kernel<void(KrylovBatch&, const Tensor&)> krylov_grow_kernel{"krylov_grow"};
constinit Kernel<void(KrylovBatch&, const Tensor&, const Tensor&, const Tensor&, Tensor&)> krylov_restart_kernel{
    "krylov_restart"};
constinit Kernel<void(KrylovBatch&, const Tensor&, const Tensor&, const Tensor&, Tensor&, Tensor&)> krylov_take_kernel{
    "krylov_take"};

namespace {

class DeviceKrylov : public KrylovVectors {
 public:
  DeviceKrylov(std::span<const KrylovProblem> problems, double eps, std::int64_t block, std::int64_t capacity,
               Device device)
      : device_(device) {
    const std::int64_t count = static_cast<std::int64_t>(problems.size());
    const std::int64_t n = problems[0].bits->size(), words = problems[0].bits->words();
    Tensor bits = Tensor::empty({count, words * 8, words, 8}, DType::kI64);
    Tensor scale = Tensor::empty({count, n}, DType::kF64), deflated = Tensor::empty({count, 1, n}, DType::kF64);
    for (std::int64_t i = 0; i < count; ++i) {
      const KrylovProblem& problem = problems[static_cast<std::size_t>(i)];
      check(problem.bits->size() == n, "krylov: expected problems of one size, got {} and {}", n, problem.bits->size());
      const auto& raw = problem.bits->raw();
      std::memcpy(bits.mutable_data<std::int64_t>() + i * words * words * 64, raw.data(), raw.size() * sizeof(raw[0]));
      std::copy_n(problem.scale, n, scale.mutable_data<double>() + i * n);
      std::copy_n(problem.deflated, n, deflated.mutable_data<double>() + i * n);
    }
    batch_.eps = eps;
    batch_.block = block;
    batch_.capacity = capacity;
    batch_.bits = bits.to(device);
    batch_.scale = scale.to(device);
    batch_.columns = Tensor::empty({count, 1 + capacity + 2 * block, n}, DType::kF64, device);
    batch_.columns.slice(1, 0, 1).copy_from(deflated.to(device));
    batch_.image = Tensor::empty({count, block, n}, DType::kF64, device);
    batch_.matrix = Tensor::zeros({count, capacity, capacity}, DType::kF64, device);
    batch_.coupling = Tensor::zeros({count, block * block}, DType::kF64, device);
    batch_.counts = Tensor::zeros({count, KrylovBatch::kCounts}, DType::kI64, device);
  }

  std::vector<Projection> grow(const std::vector<std::int64_t>& targets) override {
    krylov_grow_kernel(device_, batch_, Tensor::from(targets, {batch_.problems()}).to(device_));
    const std::vector<std::int64_t> counts = batch_.counts.to_vector<std::int64_t>();
    std::vector<Projection> projections(targets.size());
    std::int64_t largest = 0;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (targets[i] == 0) continue;
      const std::int64_t* count = &counts[i * KrylovBatch::kCounts];
      projections[i].size = count[KrylovBatch::kSize];
      projections[i].frontier = count[KrylovBatch::kFrontier];
      projections[i].products = count[KrylovBatch::kProducts];
      projections[i].coupling.resize(
          static_cast<std::size_t>(count[KrylovBatch::kEdge] * count[KrylovBatch::kFrontier]));
      largest = std::max(largest, projections[i].size);
    }
    const std::vector<double> matrix =
        batch_.matrix.slice(1, 0, largest).slice(2, 0, largest).contiguous().to_vector<double>();
    const std::vector<double> coupling = batch_.coupling.to_vector<double>();
    for (std::size_t i = 0; i < targets.size(); ++i) {
      Projection& p = projections[i];
      for (std::int64_t row = 0; row < p.size; ++row) {
        const double* from = matrix.data() + (static_cast<std::int64_t>(i) * largest + row) * largest;
        p.matrix.insert(p.matrix.end(), from, from + p.size);
      }
      std::copy_n(coupling.data() + i * static_cast<std::size_t>(batch_.block * batch_.block), p.coupling.size(),
                  p.coupling.data());
    }
    return projections;
  }

  void restart(const std::vector<RitzPairs>& pairs) override {
    Asked asked(*this, pairs);
    krylov_restart_kernel(device_, batch_, asked.pairs, asked.values, asked.coefficients, asked.vectors);
  }

  std::vector<RitzVectors> take(const std::vector<RitzPairs>& pairs) override {
    Asked asked(*this, pairs);
    Tensor residuals = Tensor::zeros({batch_.problems(), asked.most}, DType::kF64, device_);
    krylov_take_kernel(device_, batch_, asked.pairs, asked.values, asked.coefficients, asked.vectors, residuals);
    const std::vector<double> residual = residuals.to_vector<double>();
    std::vector<RitzVectors> taken(pairs.size());
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      if (pairs[i].pairs() == 0) continue;
      taken[i].vectors =
          asked.vectors.select(0, static_cast<std::int64_t>(i)).slice(0, 0, pairs[i].pairs()).to_vector<double>();
      const auto first = residual.begin() + static_cast<std::ptrdiff_t>(i) * asked.most;
      taken[i].residual = *std::max_element(first, first + pairs[i].pairs());
    }
    return taken;
  }

 private:
  // What is asked, padded to the longest, on the device.
  struct Asked {
    Asked(const DeviceKrylov& krylov, const std::vector<RitzPairs>& asked) {
      const KrylovBatch& batch = krylov.batch_;
      for (const RitzPairs& p : asked) most = std::max(most, p.pairs());
      std::vector<std::int64_t> count;
      Tensor value = Tensor::zeros({batch.problems(), most}, DType::kF64);
      Tensor coefficient = Tensor::zeros({batch.problems(), most, batch.capacity}, DType::kF64);
      double *to_value = value.mutable_data<double>(), *to_coefficient = coefficient.mutable_data<double>();
      for (std::size_t i = 0; i < asked.size(); ++i, to_value += most, to_coefficient += most * batch.capacity) {
        count.push_back(asked[i].pairs());
        if (count[i] == 0) continue;
        std::copy(asked[i].values.begin(), asked[i].values.end(), to_value);
        const std::int64_t size = static_cast<std::int64_t>(asked[i].coefficients.size()) / count[i];
        for (std::int64_t p = 0; p < count[i]; ++p)
          std::copy_n(asked[i].coefficients.data() + p * size, size, to_coefficient + p * batch.capacity);
      }
      pairs = Tensor::from(count, {batch.problems()}).to(krylov.device_);
      values = value.to(krylov.device_);
      coefficients = coefficient.to(krylov.device_);
      vectors = Tensor::empty({batch.problems(), most, batch.n()}, DType::kF64, krylov.device_);
    }
    std::int64_t most = 0;
    Tensor pairs, values, coefficients, vectors;
  };

  Device device_;
  KrylovBatch batch_;
};

}  // namespace

std::unique_ptr<KrylovVectors> make_device_krylov(std::span<const KrylovProblem> problems, double eps,
                                                  std::int64_t block, std::int64_t capacity, Device device) {
  check(!problems.empty(), "krylov: expected at least one problem");
  return std::make_unique<DeviceKrylov>(problems, eps, block, capacity, device);
}

}  // namespace usol::maskcut
