#include "usol/autograd/tape.h"

#include <atomic>
#include <map>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/in_place.h"
#include "usol/tensor/add_into.h"
#include "usol/tensor/check.h"
#include "usol/tensor/layout.h"

namespace usol {
namespace {

std::atomic<std::uint64_t> next_sequence{1};

// Calls the hooks of the leaves that backward() reaches, once each. A backward() inside another one, which runs a
// checkpoint again, leaves that to the outer one: other checkpoints may reach the same leaves.
class Hooks {
 public:
  Hooks() : outermost_(current_ == nullptr) {
    if (outermost_) current_ = this;
  }
  ~Hooks() {
    if (outermost_) current_ = nullptr;
  }
  Hooks(const Hooks&) = delete;
  Hooks& operator=(const Hooks&) = delete;

  void reached(const std::shared_ptr<GradMeta>& leaf) {
    if (leaf->on_ready) current_->reached_.push_back(leaf);
  }
  void finished(GradMeta& leaf) {
    if (outermost_ && leaf.on_ready && leaf.grad.defined() && called_.insert(&leaf).second) leaf.on_ready(leaf.grad);
  }
  /// All that were reached and of which `is_finished` is true.
  template <class IsFinished>
  void all_finished(IsFinished is_finished) {
    for (std::size_t i = 0; outermost_ && i < reached_.size(); ++i)
      if (is_finished(reached_[i].get())) finished(*reached_[i]);
  }

 private:
  static thread_local Hooks* current_;  // of the outermost backward() of this thread
  bool outermost_;
  std::vector<std::shared_ptr<GradMeta>> reached_;
  std::unordered_set<GradMeta*> called_;
};
thread_local Hooks* Hooks::current_ = nullptr;

struct Ahead {
  std::unordered_map<GradMeta*, int> uses;  // how many recorded inputs of this pass each leaf still waits for
  int checkpoints = 0;                      // how many have not run again
};

Ahead look_ahead(const std::shared_ptr<Node>& root) {
  Ahead ahead;
  std::unordered_set<Node*> seen;
  std::vector<Node*> open;
  if (root) open.push_back(root.get());
  while (!open.empty()) {
    Node* node = open.back();
    open.pop_back();
    if (!seen.insert(node).second) continue;
    if (node->runs_again) ++ahead.checkpoints;
    for (const auto& input : node->inputs) {
      if (!input) continue;
      if (input->node)
        open.push_back(input->node.get());
      else
        ++ahead.uses[input.get()];
    }
  }
  return ahead;
}

// True if the memory is the tensor's alone and holds nothing else, so that keeping it is as good as a copy.
bool as_good_as_a_copy(const Tensor& t) {
  return sole_owner(t) && t.is_contiguous() &&
         static_cast<std::size_t>(t.numel()) * size_of(t.dtype()) == t.storage()->bytes();
}

}  // namespace

Node::~Node() {
  std::vector<std::shared_ptr<GradMeta>> open = std::move(inputs);
  while (!open.empty()) {
    const std::shared_ptr<GradMeta> meta = std::move(open.back());
    open.pop_back();
    if (!meta || meta.use_count() > 1 || !meta->node || meta->node.use_count() > 1) continue;
    for (auto& input : meta->node->inputs) open.push_back(std::move(input));
    meta->node->inputs.clear();
  }
}

bool requires_grad(const Tensor& tensor) { return tensor.grad_meta() != nullptr; }

Tensor& set_requires_grad(Tensor& tensor, bool value) {
  check(!value || is_floating(tensor.dtype()), "set_requires_grad: a tensor of {} has no gradient", tensor.dtype());
  tensor.set_grad_meta(value ? std::make_shared<GradMeta>() : nullptr);
  return tensor;
}

Tensor grad(const Tensor& leaf) { return leaf.grad_meta() ? leaf.grad_meta()->grad : Tensor(); }

void set_grad(const Tensor& leaf, Tensor grad) {
  check(leaf.grad_meta() != nullptr, "set_grad: the tensor of shape {} takes no gradient", leaf.shape());
  leaf.grad_meta()->grad = std::move(grad);
}

void set_grad_hook(const Tensor& leaf, std::function<void(const Tensor&)> hook) {
  check(leaf.grad_meta() != nullptr && !leaf.grad_meta()->node, "set_grad_hook: expected a leaf");
  leaf.grad_meta()->on_ready = std::move(hook);
}

Tensor record(const char* op_name, const std::vector<Tensor>& inputs, Tensor output, Vjp vjp) {
  if (!grad_enabled()) return output;
  auto node = std::make_shared<Node>();
  bool wanted = false;
  for (const Tensor& input : inputs) {
    node->inputs.push_back(input.grad_meta());
    node->input_shapes.push_back(input.shape());
    wanted = wanted || node->inputs.back();
  }
  if (!wanted) return output;
  node->op_name = op_name;
  node->sequence = next_sequence++;
  node->vjp = std::move(vjp);
  auto meta = std::make_shared<GradMeta>();
  meta->node = std::move(node);
  output = output.detach();  // an op may return its input: that handle keeps its own bookkeeping
  output.set_grad_meta(std::move(meta));
  return output;
}

void backward(const Tensor& root, Tensor seed) {
  check(requires_grad(root), "backward: the tensor was not computed from one that requires a gradient");
  if (!seed.defined()) {
    check(root.numel() == 1, "backward: a root of shape {} needs a seed gradient", root.shape());
    seed = Tensor::full(root.shape(), 1, root.dtype(), root.device());
  }
  check(seed.shape() == root.shape(), "backward: seed of shape {} for a root of {}", seed.shape(), root.shape());
  const NoGrad no_grad;
  Ahead ahead = look_ahead(root.grad_meta()->node);
  Hooks hooks;

  struct Pending {
    std::shared_ptr<Node> node;
    Tensor grad;
  };
  std::map<std::uint64_t, Pending, std::greater<>> pending;
  const auto deliver = [&](const std::shared_ptr<GradMeta>& meta, const Tensor& grad) {
    if (!meta->node) {
      if (meta->grad.defined())
        add_into(meta->grad, grad);
      else
        meta->grad = as_good_as_a_copy(grad) ? grad : grad.clone();
      hooks.reached(meta);
      return;
    }
    Pending& entry = pending[meta->node->sequence];
    if (!entry.node) {
      entry = {meta->node, grad};
    } else {
      if (!sole_owner(entry.grad)) entry.grad = clone_like(entry.grad);
      add_into(entry.grad, grad);
    }
  };

  deliver(root.grad_meta(), seed.detach());
  while (!pending.empty()) {
    const Pending entry = std::move(pending.begin()->second);
    pending.erase(pending.begin());
    Node& node = *entry.node;
    check(node.vjp != nullptr, "backward: {} was already used by an earlier backward()", node.op_name);
    std::vector<bool> flags;
    for (const auto& input : node.inputs) flags.push_back(input != nullptr);
    const std::vector<Tensor> grads = node.vjp(entry.grad, Needs(std::move(flags)));
    check(grads.size() == node.inputs.size(), "{}: the vjp returned {} gradients for {} inputs", node.op_name,
          grads.size(), node.inputs.size());
    node.vjp = nullptr;  // frees what it saved
    for (std::size_t i = 0; i < grads.size(); ++i) {
      const auto& input = node.inputs[i];
      if (!input) continue;
      if (grads[i].defined()) {
        check(grads[i].shape() == node.input_shapes[i], "{}: gradient {} has shape {}, its input {}", node.op_name, i,
              grads[i].shape(), node.input_shapes[i]);
        deliver(input, grads[i]);
      }
      if (!input->node && --ahead.uses[input.get()] == 0 && ahead.checkpoints == 0) hooks.finished(*input);
    }
    if (node.runs_again && --ahead.checkpoints == 0)
      hooks.all_finished([&](GradMeta* leaf) { return ahead.uses[leaf] == 0; });
    node.inputs.clear();
  }
  hooks.all_finished([](GradMeta*) { return true; });
}

Saved::Saved(const Tensor& tensor)
    : tensor_(tensor.detach()), version_(tensor.defined() ? tensor.storage()->version() : 0) {}

const Tensor& Saved::get(const char* op_name) const {
  check(!tensor_.defined() || tensor_.storage()->version() == version_,
        "{}: a tensor of shape {} needed for its gradient was changed in place", op_name, tensor_.shape());
  return tensor_;
}

Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& function,
                  const std::vector<Tensor>& inputs) {
  if (!grad_enabled()) return function(inputs);
  Tensor output;
  {
    const NoGrad no_grad;
    output = function(inputs);
  }
  std::vector<Saved> saved;
  saved.reserve(inputs.size());
  for (const Tensor& input : inputs) saved.emplace_back(input);
  // The function may use parameters that the inputs do not show, so the node is recorded whatever the inputs want.
  Tensor anchor = Tensor::zeros({0}, output.dtype(), output.device());
  set_requires_grad(anchor);
  std::vector<Tensor> recorded = inputs;
  recorded.push_back(anchor);
  output = record("checkpoint", recorded, output, [function, saved](const Tensor& grad_output, const Needs& needs) {
    const GradMode recording(true);
    std::vector<Tensor> again;
    again.reserve(saved.size());
    for (std::size_t i = 0; i < saved.size(); ++i) {
      again.push_back(saved[i].get("checkpoint"));
      if (needs[i]) set_requires_grad(again.back());
    }
    const Tensor output_again = function(again);
    if (requires_grad(output_again)) backward(output_again, grad_output);
    std::vector<Tensor> grads;
    grads.reserve(again.size() + 1);
    for (const Tensor& input : again) grads.push_back(grad(input));
    grads.emplace_back();
    return grads;
  });
  output.grad_meta()->node->runs_again = true;
  return output;
}

}  // namespace usol
