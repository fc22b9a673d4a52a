#include "usol/ops/bf16_pairs.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "usol/ops/bf16_pairs.cc"
#include <hwy/foreach_target.h>
// After foreach_target.h, which compiles this file once per instruction set.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace usol {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void pack_pairs(const bf16* const* rows, std::int64_t pairs, std::int64_t n, std::uint32_t* to, std::int64_t stride) {
  const hn::CappedTag<std::uint32_t, 16> words;
  const hn::Rebind<std::uint16_t, decltype(words)> halves;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(words));
  for (std::int64_t i = 0; i < pairs; ++i, to += stride) {
    const auto* even = reinterpret_cast<const std::uint16_t*>(rows[2 * i]);
    const auto* odd = reinterpret_cast<const std::uint16_t*>(rows[2 * i + 1]);
    std::int64_t c = 0;
    for (; c + lanes <= n; c += lanes) {
      const auto low = hn::PromoteTo(words, hn::LoadU(halves, even + c));
      const auto high = hn::PromoteTo(words, hn::LoadU(halves, odd + c));
      hn::StoreU(hn::Or(low, hn::ShiftLeft<16>(high)), words, to + c);
    }
    for (; c < n; ++c) to[c] = even[c] | static_cast<std::uint32_t>(odd[c]) << 16;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace usol
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace usol {

HWY_EXPORT(pack_pairs);

void pack_bf16_pairs(const bf16* const* rows, std::int64_t pairs, std::int64_t n, std::uint32_t* to,
                     std::int64_t stride) {
  HWY_DYNAMIC_DISPATCH(pack_pairs)(rows, pairs, n, to, stride);
}

}  // namespace usol
#endif
