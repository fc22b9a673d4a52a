#include "usol/maskcut/discoverer.h"

#include "usol/maskcut/components.h"

namespace usol::maskcut {

void DiscoveredObjects::add(Tensor mask, double score) {
  if (mask_area(mask) == 0) return;
  const io::Box box = io::rle_to_box(io::rle_encode(mask));
  objects.push_back({std::move(mask), box, score});
}

}  // namespace usol::maskcut
