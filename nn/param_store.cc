#include "usol/nn/param_store.h"

#include <algorithm>

#include "usol/autograd/tape.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

// FNV-1a: a stream number per name, the same on every machine.
std::uint64_t stream_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

}  // namespace

std::string LoadReport::to_string() const {
  std::string text;
  const auto list = [&](const char* title, const std::vector<std::string>& keys) {
    for (const std::string& key : keys) text += fmt::format("\n  {} {}", title, key);
  };
  list("missing", missing);
  list("unexpected", unexpected);
  list("mismatched", mismatched);
  return text;
}

void LoadReport::require_ok(std::string_view what) const {
  check(ok(), ErrorKind::kFormat, "{}: the tensors do not fit the model:{}", what, to_string());
}

ParamStore::ParamStore(std::uint64_t seed, Device device, DType dtype) : seed_(seed), device_(device), dtype_(dtype) {}

ParamStore::ParamStore(StateDict source, Device device, DType dtype)
    : seed_(0), device_(device), dtype_(dtype), from_source_(true), source_(std::move(source)) {}

ParamStore ParamStore::shapes_only() {
  ParamStore store;
  store.shapes_only_ = true;
  return store;
}

Tensor ParamStore::made(const std::string& name, const Shape& shape, const Initializer& init) const {
  if (shapes_only_) {
    shape.numel();  // throws on sizes that nothing could hold
    return Tensor::zeros({}, dtype_).expand(shape);
  }
  Tensor tensor = Tensor::empty(shape);
  Generator generator(seed_, stream_of(name));
  init(tensor, generator);
  return tensor;
}

Tensor ParamStore::make(const std::string& name, const Shape& shape, Kind kind, const Initializer& init, bool wide) {
  check(!entries_.contains(name), "param_store: '{}' is defined twice", name);
  Tensor tensor;
  if (const auto found = source_.find(name); found != source_.end()) {
    if (found->second.shape() == shape)
      tensor = found->second;
    else
      report_.mismatched.push_back(fmt::format("{}: expected {}, got {}", name, shape, found->second.shape()));
    source_.erase(found);
  } else if (from_source_) {
    report_.missing.push_back(name);
  }
  if (!tensor.defined()) tensor = made(name, shape, init);
  if (!shapes_only_) {
    const bool narrow = dtype_ == DType::kF16 || dtype_ == DType::kBF16;
    if (is_floating(tensor.dtype())) tensor = tensor.to(wide && narrow ? DType::kF32 : dtype_);
    tensor = tensor.contiguous().to(device_);
    if (kind == Kind::kParameter && !from_source_) set_requires_grad(tensor);
  }
  entries_[name] = {tensor, kind};
  names_.push_back(name);
  return tensor;
}

StateDict ParamStore::state_dict() const {
  StateDict state;
  for (const auto& [name, entry] : entries_) state[name] = entry.tensor.detach();
  return state;
}

LoadReport ParamStore::load(const StateDict& state) {
  LoadReport report;
  for (auto& [name, entry] : entries_) {
    const auto found = state.find(name);
    if (found == state.end()) {
      report.missing.push_back(name);
    } else if (found->second.shape() != entry.tensor.shape()) {
      report.mismatched.push_back(
          fmt::format("{}: expected {}, got {}", name, entry.tensor.shape(), found->second.shape()));
    } else {
      entry.tensor.copy_from(found->second);
    }
  }
  for (const auto& [name, tensor] : state)
    if (!entries_.contains(name) && !is_counter(name)) report.unexpected.push_back(name);
  return report;
}

LoadReport ParamStore::load_report() const {
  LoadReport report = report_;
  for (const auto& [name, tensor] : source_)
    if (!is_counter(name)) report.unexpected.push_back(name);
  return report;
}

bool ParamStore::is_counter(std::string_view name) const {
  constexpr std::string_view kSuffix = ".num_batches_tracked";
  return name.ends_with(kSuffix) &&
         entries_.contains(std::string(name.substr(0, name.size() - kSuffix.size())) + ".running_var");
}

Scope Scope::operator/(std::string_view child) const {
  Scope scope = *this;
  scope.path_ = path_of(child);
  return scope;
}

Tensor Scope::parameter(std::string_view name, const Shape& shape, const Initializer& init) const {
  return store_->make(path_of(name), shape, ParamStore::Kind::kParameter, init);
}

Tensor Scope::wide_parameter(std::string_view name, const Shape& shape, const Initializer& init) const {
  return store_->make(path_of(name), shape, ParamStore::Kind::kParameter, init, true);
}

Tensor Scope::buffer(std::string_view name, const Shape& shape, const Initializer& init) const {
  return store_->make(path_of(name), shape, ParamStore::Kind::kBuffer, init, true);
}

std::string Scope::path_of(std::string_view name) const {
  return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
}

}  // namespace usol
