#pragma once
// The points of a sweep that are MaskCut under other settings: one pass over the pictures for all points that share
// their features. A part of pipeline/sweep.h.

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "usol/eval/sweep.h"
#include "usol/maskcut/maskcut.h"
#include "usol/pipeline/image_job.h"
#include "usol/pipeline/maskcut_job.h"
#include "usol/pipeline/run.h"

namespace usol {

class MaskSweep {
 public:
  /// Reads and checks the settings of `choices`, which vary `base`; a preset among them leaves the keys `given` alone.
  /// Throws Error(kUsage).
  MaskSweep(const Run& run, const MaskcutJob& base, const std::vector<std::string>& given,
            const std::vector<eval::SweepPoint>& choices, std::filesystem::path out);

  /// Makes masks.json of every point that lacks it; returns a status.
  int run();
  std::size_t size() const { return points_.size(); }
  const eval::SweepPoint& point(std::size_t i) const { return points_[i].choice; }
  std::filesystem::path folder(std::size_t i) const { return out_ / points_[i].choice.name; }
  /// SHA-256 of the weights of the first point's features, once they are made; "" without.
  std::string weights_sha256() const;

 private:
  struct Point {
    eval::SweepPoint choice;
    MaskcutJob work;
    nlohmann::ordered_json settings;  // all of them, as an output's info has them
  };
  // Cuts that several points share: they differ in the number of masks only, and fewer masks are the first ones.
  struct SharedCut {
    maskcut::MaskCutOptions options;                  // with the most masks
    std::vector<std::pair<std::size_t, int>> points;  // and their numbers of masks
  };
  using Members = std::vector<std::size_t>;  // points that share features

  std::vector<Members> groups() const;
  int run_group(std::size_t number, const Members& members);
  static void settle(Point& point, const FeatureOptions& features, const FeatureSource& source);
  ImageJob group_job(std::size_t number, const Members& members, const FeatureSource& source);
  std::vector<SharedCut> shared_cuts(const Members& members, std::int64_t patch) const;
  static ImageResult compute(const InputImage& input, const Tensor& image, const Tensor& features,
                             const std::vector<SharedCut>& cuts);
  static nlohmann::ordered_json point_info(const nlohmann::ordered_json& group_info, const Point& point);
  bool is_done(const ImageJob& job, const Members& members) const;
  void split(const ImageJob& job, const Members& members) const;
  void remove(const Members& members) const;

  const Run& run_;
  std::filesystem::path out_;
  std::vector<Point> points_;
};

}  // namespace usol
