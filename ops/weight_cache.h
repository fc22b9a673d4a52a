#pragma once
// Weights in the form that a kernel wants, made once and kept for the next call of inference.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "usol/tensor/tensor.h"

namespace usol {

/// Things made of weights (packed copies, transforms), by the memory of the weight. An entry holds as long as that
/// tensor's storage lives and is unchanged. Safe to use from several threads.
template <class Made>
class WeightCache {
 public:
  /// What was made of the weight and satisfies `fits(const Made&)`; if there is none, what `make()` returns, which is
  /// kept. Threads that need the same at the same time wait for the first one, so there is one copy.
  template <class Fits, class Make>
  Made find_or_make(const Tensor& weight, Fits&& fits, Make&& make) {
    if (std::optional<Made> found = find(weight, fits)) return std::move(*found);
    const std::lock_guard lock(making_);
    if (std::optional<Made> found = find(weight, fits)) return std::move(*found);
    Made made = make();
    keep(weight, made);
    return made;
  }
  /// What was made of the weight and satisfies `fits(const Made&)`, if it is still good.
  template <class Fits>
  std::optional<Made> find(const Tensor& weight, Fits&& fits) {
    const std::lock_guard lock(mutex_);
    const auto [first, end] = entries_.equal_range(weight.raw());
    for (auto entry = first; entry != end; ++entry)
      if (entry->second.current() && fits(entry->second.made)) return entry->second.made;
    return std::nullopt;
  }
  /// Keeps it, and drops all entries that are no longer good.
  void keep(const Tensor& weight, const Made& made) {
    const std::lock_guard lock(mutex_);
    std::erase_if(entries_, [](const auto& entry) { return !entry.second.current(); });
    entries_.emplace(weight.raw(), Entry{weight.storage(), weight.storage()->version(), made});
  }

 private:
  struct Entry {
    std::weak_ptr<Storage> source;
    std::uint64_t version;
    Made made;
    bool current() const {
      const auto storage = source.lock();
      return storage && storage->version() == version;
    }
  };
  std::mutex making_, mutex_;  // the first is held while something is made
  std::multimap<const std::byte*, Entry> entries_;
};

}  // namespace usol
