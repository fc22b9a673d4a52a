#pragma once
// Parameters by name. A module is a plain struct built from a Scope; the path of scopes is the parameter's name, so the
// names match PyTorch's and Detectron2's by construction.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "usol/tensor/generator.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// Tensors by name, as a checkpoint holds them.
using StateDict = std::map<std::string, Tensor>;

/// Fills a fresh f32 CPU tensor (nn/init.h).
using Initializer = std::function<void(Tensor& tensor, Generator& generator)>;

/// What loading by name found.
struct LoadReport {
  std::vector<std::string> missing;     // parameters the checkpoint does not have
  std::vector<std::string> unexpected;  // tensors no parameter asked for
  std::vector<std::string> mismatched;  // "name: expected [..], got [..]"

  bool ok() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
  /// One line per key; empty if ok().
  std::string to_string() const;
  /// Throws Error(kFormat) listing the keys, prefixed with `what`, unless ok().
  void require_ok(std::string_view what) const;
};

/// Owns the parameters and buffers of a model.
class ParamStore {
 public:
  enum class Kind { kParameter, kBuffer };  // only parameters get gradients
  struct Entry {
    Tensor tensor;
    Kind kind;
  };

  /// Parameters start from their initialisers, drawn from `seed` and the parameter's name, so that adding a layer does
  /// not change the others' values.
  explicit ParamStore(std::uint64_t seed = 0, Device device = {}, DType dtype = DType::kF32);
  /// Parameters are taken from `source` by name (cast and moved as needed, shared where they need neither); what it
  /// lacks starts from its initialiser and is listed in load_report(). For inference: no gradients, no second copy.
  ParamStore(StateDict source, Device device, DType dtype);
  /// Names and shapes alone: what a model asks for becomes views of a single zero, so that a model of any size can be
  /// made to be looked at. Not to be run or written to.
  static ParamStore shapes_only();

  /// Makes (or takes) the parameter `name`. `wide`: f32 in a store of 16-bit numbers. Throws Error if the name is
  /// already in use.
  Tensor make(const std::string& name, const Shape& shape, Kind kind, const Initializer& init, bool wide = false);

  const std::map<std::string, Entry>& entries() const { return entries_; }
  /// Names in the order of construction.
  const std::vector<std::string>& names() const { return names_; }
  /// All tensors by name, sharing storage.
  StateDict state_dict() const;
  /// Copies `state` into the parameters by name (in place: modules see the new values). PyTorch's counters
  /// "<norm>.num_batches_tracked" beside a known "<norm>.running_var" are no surprise: nothing here needs them.
  LoadReport load(const StateDict& state);
  /// For a store made from a source: what was missing, left over or of another shape.
  LoadReport load_report() const;

 private:
  bool is_counter(std::string_view name) const;
  Tensor made(const std::string& name, const Shape& shape, const Initializer& init) const;

  std::uint64_t seed_;
  Device device_;
  DType dtype_;
  bool from_source_ = false, shapes_only_ = false;
  StateDict source_;  // what no parameter has asked for yet
  LoadReport report_;
  std::map<std::string, Entry> entries_;
  std::vector<std::string> names_;
};

/// A place in the tree of names: Scope(store) / "blocks" / "0" / "attn".
class Scope {
 public:
  explicit Scope(ParamStore& store) : store_(&store) {}
  Scope operator/(std::string_view child) const;
  Scope operator/(std::int64_t child) const { return *this / std::string_view(std::to_string(child)); }

  Tensor parameter(std::string_view name, const Shape& shape, const Initializer& init) const;
  /// A parameter that stays f32 in a store of 16-bit numbers (f64 in one of f64).
  Tensor wide_parameter(std::string_view name, const Shape& shape, const Initializer& init) const;
  /// No gradient; wide as above.
  Tensor buffer(std::string_view name, const Shape& shape, const Initializer& init) const;

 private:
  std::string path_of(std::string_view name) const;

  ParamStore* store_;
  std::string path_;
};

}  // namespace usol
