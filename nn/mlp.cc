#include "usol/nn/mlp.h"

#include "usol/ops/elementwise.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol::nn {
namespace {

// Name of layer `index` of a kind.
std::string name_of(const MlpConfig& c, std::size_t index) {
  static constexpr std::array<std::array<const char*, 3>, 3> kNames = {
      {{"fc1", "fc2", ""}, {"w12", "w3", ""}, {"w1", "w2", "w3"}}};
  return c.names[index].empty() ? kNames[static_cast<std::size_t>(c.kind)][index] : c.names[index];
}

std::optional<Linear> second_layer(const Scope& scope, const MlpConfig& c) {
  if (c.kind != MlpKind::kSwiGluSplit) return std::nullopt;
  return Linear(scope / name_of(c, 1), c.width, c.hidden);
}

}  // namespace

Mlp::Mlp(const Scope& scope, const MlpConfig& c)
    : kind_(c.kind),
      first_(scope / name_of(c, 0), c.width, c.kind == MlpKind::kSwiGlu ? 2 * c.hidden : c.hidden),
      second_(second_layer(scope, c)),
      last_(scope / name_of(c, c.kind == MlpKind::kSwiGluSplit ? 2 : 1), c.hidden, c.width) {
  check(c.width > 0 && c.hidden > 0, "mlp: expected positive widths, got {} and {}", c.width, c.hidden);
}

Tensor Mlp::hidden(const Tensor& x) const {
  switch (kind_) {
    case MlpKind::kGelu:
      return first_(x, Activation::kGelu);
    case MlpKind::kSwiGlu: {
      const Tensor both = first_(x);
      const int last = both.rank() - 1;
      const std::int64_t half = both.size(last) / 2;
      return mul(silu(slice(both, last, 0, half)), slice(both, last, half, 2 * half));
    }
    case MlpKind::kSwiGluSplit:
      return mul(silu(first_(x)), (*second_)(x));
  }
  fail(ErrorKind::kInvalidArgument, "mlp: unknown kind");
}

}  // namespace usol::nn
