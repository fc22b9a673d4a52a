#pragma once
// Small pictures, two runs over them and the truth, for the tests of `usol report`.

#include <filesystem>
#include <string>

namespace usol::test {

/// Writes pictures/p0.png, p1.png, sub/p2.png and p3.png (60 x 40), truth.json, a.json and b.json into the folder.
/// Objects (truth, a, b): p0 2 2 1, p1 1 1 1, p2 1 0 1, p3 0 3 0.
void write_report_case(const std::filesystem::path& folder);

/// write_report_case(), and groups.json: the objects of a.json as a file of three groups, of two, two and one, and one
/// object in none; returns its path.
std::string write_groups_case(const std::filesystem::path& folder);

/// `count` pictures of noise (n00.png ..., 400 x 300) and a run over them with a mask each; returns the run's path.
std::string write_noise_case(const std::filesystem::path& folder, int count);

}  // namespace usol::test
