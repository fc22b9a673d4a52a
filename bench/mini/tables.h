#pragma once
// The tables and the plot of scripts/mini-reproduction, from the metrics.json files of `usol eval`.

#include <filesystem>
#include <string>

namespace usol {

/// The tables as Markdown. `folder` is the one that scripts/mini-reproduction fills. Throws Error naming the file that
/// is missing or is not `usol eval`'s.
std::string mini_tables(const std::filesystem::path& folder);
/// Mask AP50 and AP of each stage as an SVG picture: the mean over the seeds, and a dot for each.
std::string mini_plot(const std::filesystem::path& folder);

/// The tables of `scripts/mini-reproduction --closed`, likewise.
std::string closed_tables(const std::filesystem::path& folder);
/// The tau of a `usol sweep` whose masks have the best mask AP50, the first of equals.
std::string best_tau(const std::filesystem::path& sweep);

}  // namespace usol
