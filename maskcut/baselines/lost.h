#pragma once
// LOST: the patch similar to fewest others is on the object; the patches like it vote for the rest.
// Source: Simeoni et al. 2021, "Localizing Objects with Self-Supervised Transformers and no Labels", section 3.

#include "usol/maskcut/baselines/discovery.h"

namespace usol::maskcut {

struct LostOptions {
  int k_patches = 100;  // patches of lowest degree that may vote
};

/// The object, or nothing if the seed's feature is zero. features: k of the last block as for tokencut().
/// Similarity is the plain product of features. A patch's degree is the number of other patches of positive
/// similarity; the seed is the one of lowest degree (of equals the first). Of the k_patches lowest, those of positive
/// similarity to the seed vote, the seed too: where their similarities sum to more than 0 is foreground.
/// Throws Error when shapes, dtypes or options are not as said.
std::vector<Discovery> lost(const Tensor& features, std::int64_t patch, const Size& picture,
                            const LostOptions& options = {});

}  // namespace usol::maskcut
