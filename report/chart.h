#pragma once
// Charts as inline SVG: curves and histograms of report/report.h. Colours and fonts are the page's (classes c0 ... c7).

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace usol::report {

/// Points joined by lines. Where x or y is not finite the line is interrupted.
struct Series {
  std::string name;  // in the legend; empty: not listed
  std::vector<double> x, y;
  int colour = 0;
  bool dashed = false;
};

struct Axis {
  std::string label;
  bool logarithmic = false;  // values that are not above 0 are left out
  std::optional<double> least = {}, most = {};
};

struct Chart {
  std::string title;
  Axis x, y;
  std::vector<Series> series;
  bool steps = false;   // y[i] holds from x[i] to x[i + 1], so there is one x more; filled down to 0
  bool points = false;  // marks each point
};

/// A <figure> with title, legend and picture; a description in words for those who do not see it. Says "no values" if
/// nothing can be drawn.
std::string to_figure(const Chart& chart);

/// How values are spread: `bins` bins that all samples share, y the share of a sample's values in each bin. Bounds come
/// from the values where `x` leaves them open; values beyond are counted in the first and last bin.
Chart histogram(const std::string& title, Axis x,
                const std::vector<std::pair<std::string, std::vector<double>>>& samples, int bins);

/// Round values that divide [least, most], about `wanted` of them; powers of ten times 1 (2, 5) if logarithmic.
std::vector<double> axis_ticks(double least, double most, int wanted, bool logarithmic);

}  // namespace usol::report
