#pragma once
// The kinds of one interface's implementations: patch backbones, detectors, backbones. Each registers itself in its own
// file, with one line; those who choose among them see the list alone.

#include <algorithm>
#include <utility>
#include <vector>

namespace usol {

/// `Kind` is a struct with a `name`; what else it holds, the interface's header says.
template <class Kind>
class Registry {
 public:
  /// In the order of their names, whatever the order of linking.
  static const std::vector<Kind>& all() { return kinds(); }

  /// const Registry<Kind>::Add kSomething({...}); at namespace scope.
  struct Add {
    explicit Add(Kind kind) {
      std::vector<Kind>& list = kinds();
      const auto place = std::upper_bound(list.begin(), list.end(), kind,
                                          [](const Kind& a, const Kind& b) { return a.name < b.name; });
      list.insert(place, std::move(kind));
    }
  };

 private:
  static std::vector<Kind>& kinds() {
    static std::vector<Kind> list;
    return list;
  }
};

}  // namespace usol
