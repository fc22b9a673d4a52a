#pragma once
// The kinds of one interface's implementations: patch backbones, detectors, backbones. Each registers itself in its own
// file, with one line; those who choose among them see the list alone.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace usol {

/// `Kind` is a struct with a `name`; what else it holds, the interface's header says.
template <class Kind>
class Registry {
 public:
  /// In the order of their names, whatever the order of linking.
  static const std::vector<Kind>& all() { return kinds(); }

  /// const Registry<Kind>::Add kSomething({...}); at namespace scope. The kind is known as long as this is there.
  class Add {
   public:
    explicit Add(Kind kind) : name_(kind.name) {
      std::vector<Kind>& list = kinds();
      const auto place = std::upper_bound(list.begin(), list.end(), kind,
                                          [](const Kind& a, const Kind& b) { return a.name < b.name; });
      list.insert(place, std::move(kind));
    }
    ~Add() {
      std::erase_if(kinds(), [&](const Kind& kind) { return kind.name == name_; });
    }
    Add(const Add&) = delete;
    Add& operator=(const Add&) = delete;

   private:
    std::string name_;
  };

 private:
  static std::vector<Kind>& kinds() {
    static std::vector<Kind> list;
    return list;
  }
};

}  // namespace usol
