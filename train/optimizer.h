#pragma once
// What happens to a model's parameters in a step of training: gradients are brought back to their scale, clipped, and
// SGD or AdamW moves along them. Source: PyTorch's torch.optim and clip_grad_norm_; Detectron2's parameter groups.

#include <cstdint>
#include <string>
#include <vector>

#include "usol/nn/param_store.h"

namespace usol::train {

enum class OptimizerKind { kSgd, kAdamW };
/// Which parameters have weight_decay, the others having weight_decay_norm: all but those of norms and position
/// embeddings (Detectron2), or all of two dimensions and more (DINO).
enum class DecayRule { kAllButNorms, kTwoDimensions };

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kSgd;
  double momentum = 0.9;                              // SGD's; not Nesterov's
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  // AdamW's
  double weight_decay = 5e-5;                         // SGD: added to the gradient; AdamW: apart from it
  double weight_decay_norm = 0;                       // of normalisation layers' weights and biases
  DecayRule decay_rule = DecayRule::kAllButNorms;
  double clip_norm = 1;                  // largest L2 norm of each parameter's gradient on its own; 0: no clipping
  std::vector<std::string> faster = {};  // modules ("roi_heads.mask_head.predictor") whose parameters learn ...
  double faster_by = 1;                  // ... so many times faster
  double layer_decay = 1;                // see layer_factor()
};

/// True for weight and bias of a normalisation layer: beside a "running_var", or in a module named norm...
bool is_norm_parameter(const ParamStore& store, const std::string& name);

/// The factor of the learning rate for a parameter of a detector on a ViT of `depth` blocks: `decay` once for each
/// layer above the parameter's. Positions and patches are the lowest layer, then come the blocks, then all else.
/// Source: Clark et al. 2020, "ELECTRA", appendix; Detectron2's get_vit_lr_decay_rate.
double layer_factor(const std::string& name, double decay, std::int64_t depth);

class Optimizer {
 public:
  /// Optimises the parameters of the store that want a gradient. The store must outlive this. Throws Error(kUsage) if
  /// a module of `faster` has no parameters or a number makes no sense, Error if a parameter is not f32.
  Optimizer(const ParamStore& store, const OptimizerOptions& options);

  /// The parameters that it moves, in the order of their construction.
  std::vector<Tensor> parameters() const;
  /// One step along gradient_scale times the collected gradients (a parameter without one stays as it is). Returns
  /// false, and changes nothing, if a gradient is not finite.
  bool step(double learning_rate, double gradient_scale = 1);
  /// The weight_decay of the next steps.
  void set_weight_decay(double weight_decay) { options_.weight_decay = weight_decay; }
  /// Forgets the collected gradients.
  void zero_grad();
  /// L2 norm of all gradients together, scaled and before clipping, of the last step().
  double gradient_norm() const { return gradient_norm_; }

  /// What the next steps depend on, sharing storage: "momentum/NAME"; for AdamW "exp_avg/NAME", "exp_avg_sq/NAME" and
  /// "adamw_steps/NAME".
  StateDict state() const;
  /// Copies a state in. Throws Error(kFormat) listing names that are missing, unknown or of another shape.
  void load_state(const StateDict& state);
  /// True for the names that state() gives.
  static bool is_state(const std::string& name);

 private:
  struct Parameter {
    std::string name;
    Tensor tensor;
    Tensor first, second;  // momentum, or averages of gradient and its square
    Tensor steps;          // i64 [1], AdamW's t
    bool decays;
    double rate_factor;
  };
  void move(Parameter& p, const Tensor& gradient, double learning_rate, double scale);

  OptimizerOptions options_;
  std::vector<Parameter> parameters_;
  double gradient_norm_ = 0;
};

}  // namespace usol::train
