// Contrast with what is likely to be background (maskcut/border_contrast.h), after Zhu et al. 2014 with the constants
// of its public code, on a grid of cells: geodesic distances between all cells, from them boundary connectivity, from
// it each cell's contrast, then a linear system.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <queue>
#include <utility>
#include <vector>

#include "usol/maskcut/border_contrast.h"
#include "usol/tensor/parallel.h"

namespace usol::maskcut {
namespace {

constexpr double kCellPx = 4;
constexpr double kGeodesicSigma = 7;      // sigma_clr of equation 2, in units of L*a*b*
constexpr double kConnectivitySigma = 1;  // sigma_bndCon of equation 5
constexpr double kSpatialSigma = 0.4;     // sigma_spa of equation 6, of the longer side
constexpr double kSmoothSigma = 7;        // sigma_clr of equation 10
constexpr double kLeastSmooth = 0.1;      // mu of equation 10
// Farther cells weigh exp(-32) and less.
constexpr double kFar = 8 * kGeodesicSigma;

double gaussian(double distance, double sigma) { return std::exp(-distance * distance / (2 * sigma * sigma)); }

struct Edge {
  std::size_t to;
  double length;
};
using Graph = std::vector<std::vector<Edge>>;

class Cells {
 public:
  explicit Cells(const Tensor& planes)
      : height_(planes.size(1)), width_(planes.size(2)), rows_(cells_along(height_)), columns_(cells_along(width_)) {
    const auto planes_count = static_cast<std::size_t>(planes.size(0));
    const double* in = planes.data<double>();
    colours_.assign(size(), std::vector<double>(planes_count));
    std::vector<double> pixels(size());
    for (std::int64_t y = 0; y < height_; ++y)
      for (std::int64_t x = 0; x < width_; ++x) {
        const std::size_t cell = cell_of(y, x);
        ++pixels[cell];
        for (std::size_t c = 0; c < planes_count; ++c)
          colours_[cell][c] += in[(static_cast<std::int64_t>(c) * height_ + y) * width_ + x];
      }
    for (std::size_t i = 0; i < size(); ++i)
      for (double& v : colours_[i]) v /= pixels[i];
  }

  std::size_t size() const { return static_cast<std::size_t>(rows_ * columns_); }
  std::size_t cell_of(std::int64_t y, std::int64_t x) const {
    return static_cast<std::size_t>((y * rows_ / height_) * columns_ + x * columns_ / width_);
  }
  std::int64_t row(std::size_t i) const { return static_cast<std::int64_t>(i) / columns_; }
  std::int64_t column(std::size_t i) const { return static_cast<std::int64_t>(i) % columns_; }
  bool on_border(std::size_t i) const {
    return row(i) == 0 || row(i) == rows_ - 1 || column(i) == 0 || column(i) == columns_ - 1;
  }
  // Steps between two cells, diagonal ones counting once.
  std::int64_t steps(std::size_t i, std::size_t j) const {
    return std::max(std::abs(row(i) - row(j)), std::abs(column(i) - column(j)));
  }
  double colour_distance(std::size_t i, std::size_t j) const {
    double square = 0;
    for (std::size_t c = 0; c < colours_[i].size(); ++c)
      square += (colours_[i][c] - colours_[j][c]) * (colours_[i][c] - colours_[j][c]);
    return std::sqrt(square);
  }
  // Of the centres, as a share of the longer side.
  double distance(std::size_t i, std::size_t j) const {
    const double longer = static_cast<double>(std::max(rows_, columns_));
    return std::hypot(static_cast<double>(row(i) - row(j)), static_cast<double>(column(i) - column(j))) / longer;
  }

 private:
  static std::int64_t cells_along(std::int64_t px) {
    return std::min(px, std::max<std::int64_t>(2, std::llround(static_cast<double>(px) / kCellPx)));
  }

  std::int64_t height_, width_, rows_, columns_;
  std::vector<std::vector<double>> colours_;
};

// Colour differences up to that of a cell's likest neighbour, in the mean, are texture and not an edge.
double texture_of(const Cells& cells) {
  double sum = 0;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t j = 0; j < cells.size(); ++j)
      if (cells.steps(i, j) == 1) least = std::min(least, cells.colour_distance(i, j));
    sum += least;
  }
  return sum / static_cast<double>(cells.size());
}

// Cells within `reach` steps, and those of the border with one another: behind the frame the background goes on.
Graph neighbours(const Cells& cells, std::int64_t reach, double texture) {
  Graph graph(cells.size());
  for (std::size_t i = 0; i < cells.size(); ++i)
    for (std::size_t j = 0; j < cells.size(); ++j) {
      if (i == j || (cells.steps(i, j) > reach && !(cells.on_border(i) && cells.on_border(j)))) continue;
      graph[i].push_back({j, std::max(cells.colour_distance(i, j) - texture, 0.0)});
    }
  return graph;
}

// Lengths of the shortest paths from a cell; those above kFar stay infinite.
std::vector<double> shortest_paths(const Graph& graph, std::size_t from) {
  using Reached = std::pair<double, std::size_t>;
  std::vector<double> length(graph.size(), std::numeric_limits<double>::infinity());
  std::priority_queue<Reached, std::vector<Reached>, std::greater<>> next;
  length[from] = 0;
  next.push({0, from});
  while (!next.empty()) {
    const auto [reached, at] = next.top();
    next.pop();
    if (reached > length[at]) continue;
    for (const Edge& edge : graph[at]) {
      const double longer = reached + edge.length;
      if (longer > kFar || longer >= length[edge.to]) continue;
      length[edge.to] = longer;
      next.push({longer, edge.to});
    }
  }
  return length;
}

// How likely each cell is background: 1 - exp(-c^2 / 2), where c is the length of the border that belongs to the cell's
// region over the square root of the region's area. Equations 2 to 5.
std::vector<double> background(const Cells& cells, const Graph& graph) {
  std::vector<double> likely(cells.size());
  parallel_for(0, static_cast<std::int64_t>(cells.size()), 32, [&](std::int64_t first, std::int64_t last) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
      const std::vector<double> length = shortest_paths(graph, i);
      double area = 0, border = 0;
      for (std::size_t j = 0; j < cells.size(); ++j) {
        const double belongs = gaussian(length[j], kGeodesicSigma);
        area += belongs;
        if (cells.on_border(j)) border += belongs;
      }
      likely[i] = 1 - gaussian(border / std::sqrt(area), kConnectivitySigma);
    }
  });
  return likely;
}

// Contrast with the likely background, near cells counting more. Equation 6.
std::vector<double> foreground(const Cells& cells, const std::vector<double>& background) {
  std::vector<double> contrast(cells.size());
  for (std::size_t i = 0; i < cells.size(); ++i)
    for (std::size_t j = 0; j < cells.size(); ++j)
      contrast[i] += cells.colour_distance(i, j) * gaussian(cells.distance(i, j), kSpatialSigma) * background[j];
  stretch(contrast);
  return contrast;
}

// The map s of least sum of b s^2 + f (1 - s)^2 + the weights times (s_i - s_j)^2. Equation 9. Conjugate gradients: the
// system is symmetric and positive definite, since every cell has a weight of its own, or none has.
std::vector<double> compromise(const Graph& graph, const std::vector<double>& b, const std::vector<double>& f) {
  const std::size_t n = graph.size();
  Graph weights = graph;
  std::vector<double> diagonal(n), s(n), residual = f, direction = f, product(n);
  for (std::size_t i = 0; i < n; ++i) {
    diagonal[i] = b[i] + f[i];
    for (Edge& edge : weights[i]) {
      edge.length = gaussian(edge.length, kSmoothSigma) + kLeastSmooth;
      diagonal[i] += edge.length;
    }
  }
  const auto dot = [&](const std::vector<double>& x, const std::vector<double>& y) {
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += x[i] * y[i];
    return sum;
  };
  double square = dot(residual, residual);
  const double enough = 1e-24 * square;
  for (std::size_t step = 0; step < 4 * n && square > enough; ++step) {
    for (std::size_t i = 0; i < n; ++i) {
      product[i] = diagonal[i] * direction[i];
      for (const Edge& edge : weights[i]) product[i] -= edge.length * direction[edge.to];
    }
    const double length = square / dot(direction, product), before = square;
    for (std::size_t i = 0; i < n; ++i) {
      s[i] += length * direction[i];
      residual[i] -= length * product[i];
    }
    square = dot(residual, residual);
    for (std::size_t i = 0; i < n; ++i) direction[i] = residual[i] + square / before * direction[i];
  }
  return s;
}

}  // namespace

Tensor background_contrast(const Tensor& planes) {
  check_planes("background_contrast", planes);
  const Tensor dense = planes.contiguous();
  const Cells cells(dense);
  const double texture = texture_of(cells);
  const std::vector<double> b = background(cells, neighbours(cells, 1, texture));
  const std::vector<double> f = foreground(cells, b);
  std::vector<double> s = compromise(neighbours(cells, 2, texture), b, f);
  stretch(s);
  Tensor map = Tensor::empty({planes.size(1), planes.size(2)}, DType::kF64);
  double* out = map.mutable_data<double>();
  for (std::int64_t y = 0; y < planes.size(1); ++y)
    for (std::int64_t x = 0; x < planes.size(2); ++x) *out++ = s[cells.cell_of(y, x)];
  return map;
}

}  // namespace usol::maskcut
