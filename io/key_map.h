#pragma once
// How the names in published checkpoints become the names of a plain model. Every rule is here, in one table's worth of
// code, and says in words what it did: nothing is matched by guessing.
//
// Rules 1 to 5 strip what programs wrap around a model, over and over until none applies:
//   1. parts "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module." anywhere in a name
//                                                          -> removed (torch.compile, FSDP, activation checkpointing)
//   2. every name begins with "module.", or every name with "model."
//                                                          -> removed (DataParallel and its kin; Lightning and its kin)
//   3. every name begins with "teacher.", "student." or the name of what else a self-distillation trains ("dino_loss.",
//      "ibot_patch_loss.", "model_ema." ...)               -> "teacher.", or else "student.", removed, the others left
//      out
//   4. every name is of a momentum-contrast pair, that is, begins with "encoder_q.", "encoder_k.", "queue" or (the same
//      backbone again) "backbone.", and some begin with "encoder_q."
//                                                          -> "encoder_q." removed, the others left out (MoCo); where
//      every one of those goes on with "0." or "1.", a backbone and its neck, "encoder_q.0." (DenseCL and others of
//      OpenSelfSup)
//   5. every name begins with "backbone.", "head.", "dino_head." or "ibot_head.", and some begin with "backbone."
//      and none of those with a detector's backbone ("backbone.bottom_up.", ".net.", ".fpn_", ".simfp_")
//                                                          -> "backbone." removed, the others left out (DINO, DINOv2)
// Then, each at most once:
//   6. every "blocks." name is "blocks.<chunk>.<index>." -> "blocks.<index>." (DINOv2 trained in chunks of blocks)
//   7. the names of Hugging Face's and timm's vision transformers -> the original ones (io/hub_names.h), and those of
//      their ConvNeXts (io/convnext_names.h); what files of DINOv3 leave out is added (io/dinov3_names.h)
//   8. beside a vision transformer, a classifier's parts: names that begin with "head.", "head_dist.", "fc_norm." or
//      "pre_logits."                                       -> left out
// Detectors of Detectron2 also have "backbone." names, but others beside them ("roi_heads." ...), or the backbone's
// parts one level below when it was saved alone, so rule 5 leaves them as they are.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::io {

struct KeyMapReport {
  std::vector<std::string> applied;   // one sentence per rule that changed something
  std::vector<std::string> left_out;  // names, as the file has them, of tensors that a rule dropped
};

/// Renames the tensors by the rules above. Throws Error(kFormat) if two names become one, or if the names are a hub's
/// but for one that no such model has.
KeyMapReport map_keys(std::map<std::string, Tensor>& tensors);

/// Removes `prefix` where it is, and leaves the other tensors out, their names added to `left_out`.
void keep_prefix(std::map<std::string, Tensor>& tensors, std::string_view prefix, std::vector<std::string>& left_out);

/// Renames a ResNet from torchvision's names (DINO's, MoCo-v2's and DenseCL's: "conv1.weight", "bn1.weight",
/// "layer1.0.conv1.weight", "layer1.0.downsample.0.weight") to Detectron2's ("stem.conv1.weight",
/// "stem.conv1.norm.weight", "res2.0.conv1.weight", "res2.0.shortcut.weight"), each behind `prefix`: with
/// "backbone.bottom_up." they are a detector's. The classifier ("fc.") and counters ("num_batches_tracked") are left
/// out. Throws Error(kFormat) naming the first tensor that is not part of such a network.
KeyMapReport resnet_to_detectron2(std::map<std::string, Tensor>& tensors, const std::string& prefix = {});

}  // namespace usol::io
