#include "usol/nn/transformer_block.h"

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/nn/drop_path.h"
#include "usol/ops/cast.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/linear.h"

namespace usol::nn {

TransformerBlock::TransformerBlock(const Scope& scope, const TransformerBlockConfig& c)
    : norm1(scope / "norm1", c.width, c.epsilon),
      norm2(scope / "norm2", c.width, c.epsilon),
      attn(scope / "attn", c.width, c.heads, c.qkv_bias),
      mlp(scope / "mlp", {.width = c.width, .hidden = c.mlp_hidden, .kind = c.mlp}),
      drop_path(c.drop_path),
      add_in_place(c.add_in_place) {
  if (!c.layer_scale) return;
  scale1 = (scope / "ls1").parameter("gamma", {c.width}, init::ones());
  scale2 = (scope / "ls2").parameter("gamma", {c.width}, init::ones());
}

Tensor TransformerBlock::operator()(Tensor x, const Context& context, const Mixer& mixer) const {
  const Tensor projected = attn.projected(normed(norm1, x));
  x = add_branch(x, mixer ? mixer(projected) : attn.mix(projected), attn.proj, scale1, context);
  return add_branch(x, mlp.hidden(normed(norm2, x)), mlp.last(), scale2, context);
}

// The branch's last layer is part of this, since its product can add to x as it is made.
Tensor TransformerBlock::add_branch(Tensor x, const Tensor& hidden, const Linear& last, const Tensor& scale,
                                    const Context& context) const {
  const bool recorded = grad_enabled() && (requires_grad(x) || requires_grad(hidden) || requires_grad(last.weight) ||
                                           requires_grad(last.bias));
  if (add_in_place && !recorded && !scale.defined() && !(context.training && drop_path > 0)) {
    linear_add_into(x, hidden, cast(last.weight, x.dtype()),
                    last.bias.defined() ? cast(last.bias, x.dtype()) : last.bias);
    return x;
  }
  const Tensor branch = last(hidden);
  return add(x, nn::drop_path(scale.defined() ? mul(branch, cast(scale, branch.dtype())) : branch, drop_path, context));
}

}  // namespace usol::nn
