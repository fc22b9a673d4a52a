#pragma once
// The pyramid's maps as SOLOv2's heads take them, and the coordinates that tell a convolution where it is.

#include <vector>

#include "usol/tensor/tensor.h"

namespace usol::solov2 {

/// p2 ... p6 -> the five maps that the grids lie over: p2 halved, p6 of p5's size, both bilinearly.
std::vector<Tensor> instance_levels(const std::vector<Tensor>& maps);

/// [N, 2, H, W]: x and y of each cell, from -1 to 1 over the map, of the dtype and device of `like` [N, C, H, W].
Tensor coordinates(const Tensor& like);

}  // namespace usol::solov2
