#pragma once
// Stochastic gradient descent with momentum, and the clipping of gradients that goes before it. The optimiser of all of
// the detector's training. Source: PyTorch's torch.optim.SGD and clip_grad_norm_; Detectron2's parameter groups.

#include <cstdint>
#include <string>
#include <vector>

#include "nn/param_store.h"
#include "tensor/kernel.h"

namespace usol::train {

struct SgdOptions {
  double momentum = 0.9;  // not Nesterov's
  double weight_decay = 5e-5;
  double weight_decay_norm = 0;     // of normalisation layers' weights and biases
  double clip_norm = 1;             // largest L2 norm of each parameter's gradient on its own; 0: no clipping
  std::vector<std::string> faster;  // modules ("roi_heads.mask_head.predictor") whose parameters learn ...
  double faster_by = 1;             // ... so many times faster
};

/// What one step does to one parameter.
struct SgdStep {
  float gradient_scale = 1;  // from clipping
  float learning_rate = 0, momentum = 0, weight_decay = 0;
};
/// momentum' = m * momentum + (scale * gradient + decay * parameter); parameter -= rate * momentum'. All dense f32 of
/// one shape.
extern Kernel<void(const SgdStep& step, const Tensor& gradient, Tensor& parameter, Tensor& momentum)> sgd_kernel;

/// True for weight and bias of a normalisation layer: beside a "running_var", or in a module named norm...
bool is_norm_parameter(const ParamStore& store, const std::string& name);

class Sgd {
 public:
  /// Optimises the parameters of the store that want a gradient. The store must outlive this. Throws Error(kUsage) if
  /// a module of `faster` has no parameters, Error if a parameter is not f32.
  Sgd(const ParamStore& store, const SgdOptions& options);

  /// One step along the collected gradients (a parameter without one stays as it is). Returns false, and changes
  /// nothing, if a gradient is not finite.
  bool step(double learning_rate);
  /// Forgets the collected gradients.
  void zero_grad();
  /// L2 norm of all gradients together before clipping, of the last step().
  double gradient_norm() const { return gradient_norm_; }

  /// The momenta by parameter name, sharing storage.
  StateDict state() const;
  /// Copies momenta in. Throws Error(kFormat) listing names that are missing, unknown or of another shape.
  void load_state(const StateDict& state);

 private:
  struct Parameter {
    std::string name;
    Tensor tensor, momentum;
    double weight_decay, rate_factor;
  };

  SgdOptions options_;
  std::vector<Parameter> parameters_;
  double gradient_norm_ = 0;
};

}  // namespace usol::train
