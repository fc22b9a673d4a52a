#include "usol/maskcut/discoverer.h"

#include <fmt/format.h>

#include "usol/maskcut/components.h"

namespace usol::maskcut {

void DiscoveredObjects::add(Tensor mask, double score) {
  if (mask_area(mask) == 0) return;
  const io::Box box = io::rle_to_box(io::rle_encode(mask));
  objects.push_back({std::move(mask), box, score});
}

std::string why_all_connected(double tau, bool inclusive) {
  return fmt::format("all patches of each have a cosine {}: these features need a larger tau, or {}",
                     inclusive ? fmt::format("of {} or more", tau) : fmt::format("above {}", tau), kOtherFeatures);
}

}  // namespace usol::maskcut
