#pragma once
// Reverse-mode differentiation with a tape of closures.
//
// An op computes its output and calls record() with a closure that maps the output's gradient to its inputs' gradients
// (the vector-Jacobian product, "vjp"). backward() walks the recorded nodes by descending sequence number, which is a
// reverse topological order, without recursion; each node is released after use.

#include <cstdint>
#include <functional>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol {

/// Which inputs of a node want a gradient; a vjp may leave the others' undefined.
class Needs {
 public:
  explicit Needs(std::vector<bool> flags) : flags_(std::move(flags)) {}
  bool operator[](std::size_t input) const { return flags_.at(input); }

 private:
  std::vector<bool> flags_;
};

/// Gradient of the output -> one gradient per input, in the inputs' shapes and dtypes; an undefined one is zero. Runs
/// with recording off.
using Vjp = std::function<std::vector<Tensor>(const Tensor& grad, const Needs& needs)>;

/// One recorded operation.
struct Node {
  Node() = default;
  ~Node();  // releases long chains without recursion
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const char* op_name = "";
  bool runs_again = false;  // a checkpoint(): its vjp is a backward() of its own
  std::uint64_t sequence = 0;
  std::vector<std::shared_ptr<GradMeta>> inputs;  // null where no gradient is wanted
  std::vector<Shape> input_shapes;
  Vjp vjp;
};

/// What a tensor knows about gradients. Leaves have no node and keep `grad`.
struct GradMeta {
  std::shared_ptr<Node> node;
  Tensor grad;
  std::function<void(const Tensor& grad)> on_ready;
};

/// True if the tensor is a leaf that wants a gradient or was computed from one.
bool requires_grad(const Tensor& tensor);
/// Makes a floating tensor a leaf that collects gradients (or an ordinary tensor again). Returns it.
Tensor& set_requires_grad(Tensor& tensor, bool value = true);
/// The gradient a leaf has collected; undefined if none.
Tensor grad(const Tensor& leaf);
void set_grad(const Tensor& leaf, Tensor grad);
/// Calls `hook` in the backward() that finishes this leaf's gradient (for overlapping communication).
void set_grad_hook(const Tensor& leaf, std::function<void(const Tensor&)> hook);

/// Attaches the closure to `output` if recording is on and any input wants a gradient; else returns it unchanged.
Tensor record(const char* op_name, const std::vector<Tensor>& inputs, Tensor output, Vjp vjp);

/// Adds d(root)/d(leaf) to the gradient of every leaf. `seed` is the gradient of root itself: undefined means 1, which
/// needs a one-element root. Throws Error if root was not recorded, or if a vjp returns a wrong shape.
void backward(const Tensor& root, Tensor seed = {});

/// A tensor kept for the backward pass. Holds the elements without the gradient bookkeeping (an op's own output would
/// otherwise own itself) and throws Error when they were changed in place since.
class Saved {
 public:
  explicit Saved(const Tensor& tensor);
  /// The saved elements. Throws Error naming the op if they were overwritten.
  const Tensor& get(const char* op_name) const;

 private:
  Tensor tensor_;
  std::uint64_t version_;
};

/// Gradient checkpointing (Chen et al. 2016): runs `function` without recording and again during backward, trading one
/// more forward pass for not keeping its intermediate tensors. The function must give the same result both times.
Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& function, const std::vector<Tensor>& inputs);

}  // namespace usol
