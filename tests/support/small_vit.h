#pragma once
// Weights of a vision transformer that is quick, of random numbers: what stands in the place of DINO's where a test
// takes the way of a user.

#include <filesystem>

#include "usol/io/checkpoint.h"
#include "usol/models/vit.h"

namespace usol::test {

/// 64 wide, two blocks, patches of 8 pixels.
inline void write_small_vit(const std::filesystem::path& path) {
  VitConfig config;
  config.width = 64;
  config.depth = 2;
  config.patch = 8;
  config.grid = 4;
  config.mlp_hidden = 64;
  ParamStore store(8);
  const Vit vit(Scope(store), config);
  io::save_checkpoint(path, store.state_dict());
}

}  // namespace usol::test
