#pragma once
// Scenes with kinds of objects (scripts/mini-reproduction --kinds): what it needs beside the verbs, and its table.

#include <cstdint>
#include <filesystem>
#include <string>

namespace usol {

/// A residual network of random numbers, one block a stage and 64 to 512 channels wide, as weights of `usol discover`
/// and `usol group`.
void write_random_network(const std::filesystem::path& file, std::uint64_t seed);

/// The objects of a COCO file with their categories dealt out anew: as many of each as before, but to anyone. The
/// control of what groups are worth. Throws Error if the file has no annotations.
void shuffle_categories(const std::filesystem::path& objects, const std::filesystem::path& out, std::uint64_t seed);

/// The table in Markdown. Throws Error naming what is missing.
std::string kinds_table(const std::filesystem::path& folder);

}  // namespace usol
