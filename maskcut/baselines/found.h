#pragma once
// FOUND: finds the background first, as what resembles the patch of least attention; then one linear layer on the
// features, trained on masks made that way, tells objects apart.
// Source: Simeoni et al. 2023, "Unsupervised Object Localization: Observing the Background to Discover Objects",
// section 3.

#include <filesystem>

#include "usol/maskcut/baselines/discovery.h"
#include "usol/maskcut/baselines/tokencut.h"

namespace usol::maskcut {

struct FoundOptions {
  double background_cosine = 0.3;  // more similar to the background seed than this is background
};

/// The background (u8 [h, w], 1 = background) from k of the last block, f32 [heads * dim, h, w], and the attention of
/// the class token to the patches, f32 [heads, h, w]. A head weighs log(sum of all Q / Q), Q being the share of its
/// patches with more than the mean attention of all heads; the weights scale keys and attention alike. The seed is the
/// patch of least weighted attention. Throws Error when shapes or dtypes are not as said.
Tensor found_background(const Tensor& keys, const Tensor& attention, const FoundOptions& options = {});

/// The first stage alone: what is not background. Its largest component, or nothing.
std::vector<Discovery> found_foreground(const Tensor& background, std::int64_t patch, const Size& picture);

/// The same as saliency: soft = 1 - background, resized bilinearly by the factor `patch` and cropped to the picture;
/// mask = above 0.5.
Saliency found_foreground_saliency(const Tensor& background, std::int64_t patch, const Size& picture);

/// The trained layer.
struct FoundHead {
  Tensor weight;  // f32 [D]
  float bias = 0;
};
/// Reads the published file (decoder_weights.pt) or any checkpoint with `weight` [1, D, 1, 1] and `bias` [1].
/// Throws Error if it has no such tensors, and what load_checkpoint() throws.
FoundHead load_found_head(const std::filesystem::path& path);

/// The layer's output f32 [h, w] for k f32 [D, h, w]; positive is foreground. Throws Error on another D.
Tensor found_logits(const Tensor& keys, const FoundHead& head);

/// The largest component of positive logits, or nothing.
std::vector<Discovery> found(const Tensor& logits, std::int64_t patch, const Size& picture);

/// Saliency at the picture's size: soft = sigmoid of the logits resized bilinearly by the factor `patch` and cropped;
/// mask = above 0.5.
Saliency found_saliency(const Tensor& logits, std::int64_t patch, const Size& picture);

/// A mask (u8 [H, W]) refined by the bilateral solver in `image` (u8 [H, W, 3]): all components but the largest
/// (with `single` only the second largest), background counting as one; the mask itself if their IoU is not above 0.5.
Tensor found_refine(const Tensor& mask, const Tensor& image, bool single = false);

}  // namespace usol::maskcut
