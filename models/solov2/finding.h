#pragma once
// From what the network says to objects: the best cells, their masks, and matrix NMS.
// Source: Wang et al. 2020, section 3.4; AdelaiDet's inference_single_image.

#include <vector>

#include "usol/models/detector.h"
#include "usol/models/solov2/config.h"
#include "usol/models/solov2/ins_head.h"

namespace usol::solov2 {

/// Probabilities [N, K, S, S] in which a cell keeps its value only if it is the largest of the two by two cells that
/// end at it; the others are 0.
Tensor point_nms(const Tensor& probabilities);

/// The objects of picture number `index` of the batch, with whole masks over the frame of the mask features
/// [N, C, h, w] (detection::MaskFrame) and their boxes in pixels of the network's input. `picture`: its size. Spare
/// outputs of the category branch find nothing. No gradient.
detection::Detections find_objects(const std::vector<Cells>& cells, const Tensor& features, std::int64_t index,
                                   const Size& picture, const Config& config, const detection::DetectOptions& options);

}  // namespace usol::solov2
