#include "usol/report/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "usol/report/html.h"

namespace usol::report {
namespace {

constexpr double kWidth = 400, kHeight = 240, kLeft = 54, kRight = 12, kTop = 8, kBottom = 38;

// Values -> pixels along one axis.
class Scale {
 public:
  Scale(const Axis& axis, double least, double most, double from, double to)
      : logarithmic_(axis.logarithmic), least_(least), most_(most), from_(from), to_(to) {}

  double operator()(double value) const {
    const double t =
        logarithmic_ ? std::log(value / least_) / std::log(most_ / least_) : (value - least_) / (most_ - least_);
    return from_ + (to_ - from_) * std::clamp(t, 0.0, 1.0);
  }
  bool takes(double value) const { return std::isfinite(value) && (!logarithmic_ || value > 0); }
  double least() const { return least_; }
  double most() const { return most_; }

 private:
  bool logarithmic_;
  double least_, most_, from_, to_;
};

struct Range {
  double least = std::numeric_limits<double>::infinity(), most = -least;
  void take(double value) {
    least = std::min(least, value);
    most = std::max(most, value);
  }
  bool empty() const { return least > most; }
};

// The axis's own bounds, or those of the values, or something to draw where all values are one.
std::optional<std::pair<double, double>> bounds(const Axis& axis, const std::vector<Series>& series,
                                                std::vector<double> Series::*values) {
  Range range;
  for (const Series& s : series) {
    for (const double v : s.*values) {
      if (std::isfinite(v) && (!axis.logarithmic || v > 0)) range.take(v);
    }
  }
  if (range.empty()) return std::nullopt;
  double least = axis.least.value_or(range.least), most = axis.most.value_or(range.most);
  if (!(least < most)) {
    const double middle = most;
    least = axis.logarithmic ? middle / 2 : middle - std::max(0.5, std::abs(middle) / 2);
    most = axis.logarithmic ? middle * 2 : middle + std::max(0.5, std::abs(middle) / 2);
  }
  return std::pair(least, most);
}

std::string number(double value) {
  const double size = std::abs(value);
  if (size >= 1e6) return fmt::format("{:.3g}M", value / 1e6);
  if (size >= 1e4) return fmt::format("{:.4g}k", value / 1e3);
  return fmt::format("{:.4g}", std::abs(value) < 1e-12 ? 0 : value);
}

std::string points_of(const Series& series, bool steps, const Scale& x, const Scale& y) {
  std::string path;
  bool down = false;
  const auto to = [&](double px, double py) {
    path += fmt::format("{}{:.1f} {:.1f}", down ? 'L' : 'M', px, py);
    down = true;
  };
  for (std::size_t i = 0; i < series.y.size(); ++i) {
    if (!x.takes(series.x[i]) || !y.takes(series.y[i])) {
      down = false;
      continue;
    }
    to(x(series.x[i]), y(series.y[i]));
    if (steps && i + 1 < series.x.size()) to(x(series.x[i + 1]), y(series.y[i]));
  }
  return path;
}

std::string legend(const std::vector<Series>& series) {
  std::string out;
  std::set<std::string> listed;
  for (const Series& s : series) {
    if (s.name.empty() || !listed.insert(s.name).second) continue;
    out += fmt::format("<li class=\"c{}{}\">{}</li>", s.colour % 8, s.dashed ? " dashed" : "", escape_html(s.name));
  }
  return out.empty() ? out : "<ul class=\"legend\">" + out + "</ul>";
}

// "masks: 0.12 to 0.98": the range of each curve, for screen readers.
std::string in_words(const Chart& chart) {
  std::string words = fmt::format("over {}.", chart.x.label);
  for (const Series& s : chart.series) {
    Range range;
    for (const double v : s.y) {
      if (std::isfinite(v)) range.take(v);
    }
    if (!range.empty() && !s.name.empty())
      words += fmt::format(" {}: {} to {}.", s.name, number(range.least), number(range.most));
  }
  return words;
}

}  // namespace

std::vector<double> axis_ticks(double least, double most, int wanted, bool logarithmic) {
  std::vector<double> ticks;
  if (logarithmic) {
    const bool few = std::log10(most / least) < 2.5;
    for (int power = static_cast<int>(std::floor(std::log10(least))); std::pow(10, power) <= most * (1 + 1e-9);
         ++power) {
      for (const double digit : {1.0, 2.0, 5.0}) {
        const double value = digit * std::pow(10, power);
        if ((digit == 1.0 || few) && value >= least * (1 - 1e-9) && value <= most * (1 + 1e-9)) ticks.push_back(value);
      }
    }
    if (ticks.size() >= 2) return ticks;
    ticks.clear();
  }
  const double rough = (most - least) / wanted, power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double digit : {5.0, 2.0, 1.0}) {
    if (digit * power >= rough * (1 - 1e-9)) step = digit * power;
  }
  for (double i = std::ceil(least / step - 1e-9); i * step <= most + step * 1e-9; ++i) ticks.push_back(i * step);
  return ticks;
}

std::string to_figure(const Chart& chart) {
  std::string out = fmt::format("<figure class=\"chart\"><figcaption>{}</figcaption>{}", escape_html(chart.title),
                                legend(chart.series));
  const auto x_range = bounds(chart.x, chart.series, &Series::x), y_range = bounds(chart.y, chart.series, &Series::y);
  if (!x_range || !y_range) return out + "<p class=\"note\">no values</p></figure>\n";
  const Scale x(chart.x, x_range->first, x_range->second, kLeft, kWidth - kRight);
  const Scale y(chart.y, y_range->first, y_range->second, kHeight - kBottom, kTop);
  out += fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">", kWidth, kHeight,
                     escape_html(chart.title + " " + in_words(chart)));
  out += "<g class=\"grid\">";
  std::string labels;
  for (const double value : axis_ticks(x.least(), x.most(), 6, chart.x.logarithmic)) {
    out += fmt::format("<path d=\"M{:.1f} {}V{}\"/>", x(value), kTop, kHeight - kBottom);
    labels += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>", x(value),
                          kHeight - kBottom + 14, number(value));
  }
  for (const double value : axis_ticks(y.least(), y.most(), 5, chart.y.logarithmic)) {
    out += fmt::format("<path d=\"M{} {:.1f}H{}\"/>", kLeft, y(value), kWidth - kRight);
    labels += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", kLeft - 5, y(value) + 3.5,
                          number(value));
  }
  labels += fmt::format("<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>", (kLeft + kWidth - kRight) / 2,
                        kHeight - 7, escape_html(chart.x.label));
  labels += fmt::format("<text transform=\"translate(11 {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
                        (kTop + kHeight - kBottom) / 2, escape_html(chart.y.label));
  out += "</g>";
  for (const Series& s : chart.series) {
    const std::string path = points_of(s, chart.steps, x, y);
    if (path.empty()) continue;
    if (chart.steps) {
      out += fmt::format("<path class=\"area c{}\" d=\"{}L{:.1f} {:.1f}L{:.1f} {:.1f}Z\"/>", s.colour % 8, path,
                         x(s.x.back()), y(y.least()), x(s.x.front()), y(y.least()));
    }
    out += fmt::format("<path class=\"line c{}{}\" d=\"{}\"/>", s.colour % 8, s.dashed ? " dashed" : "", path);
    if (!chart.points) continue;
    for (std::size_t i = 0; i < s.y.size(); ++i) {
      if (x.takes(s.x[i]) && y.takes(s.y[i]))
        out +=
            fmt::format("<circle class=\"c{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"><title>{} {}: {}</title></circle>",
                        s.colour % 8, x(s.x[i]), y(s.y[i]), escape_html(s.name), number(s.x[i]), number(s.y[i]));
    }
  }
  return out + "<g class=\"labels\">" + labels + "</g></svg></figure>\n";
}

Chart histogram(const std::string& title, Axis x,
                const std::vector<std::pair<std::string, std::vector<double>>>& samples, int bins) {
  Range range;
  for (const auto& [name, values] : samples) {
    for (const double v : values) {
      if (std::isfinite(v) && (!x.logarithmic || v > 0)) range.take(v);
    }
  }
  Chart chart{title, x, {"share", false, 0.0}, {}, true};
  if (range.empty()) return chart;
  const double least = x.least.value_or(range.least);
  double most = x.most.value_or(range.most);
  if (!(least < most)) most = x.logarithmic ? least * 2 : least + 1;
  const auto at = [&](double t) {
    return x.logarithmic ? least * std::pow(most / least, t) : least + (most - least) * t;
  };
  for (std::size_t s = 0; s < samples.size(); ++s) {
    Series series{samples[s].first, {}, std::vector<double>(static_cast<std::size_t>(bins)), static_cast<int>(s)};
    for (int i = 0; i <= bins; ++i) series.x.push_back(at(static_cast<double>(i) / bins));
    for (const double v : samples[s].second) {
      if (!std::isfinite(v) || (x.logarithmic && v <= 0)) continue;
      const double t = x.logarithmic ? std::log(v / least) / std::log(most / least) : (v - least) / (most - least);
      const int bin = std::clamp(static_cast<int>(std::floor(t * bins)), 0, bins - 1);
      series.y[static_cast<std::size_t>(bin)] += 1 / static_cast<double>(samples[s].second.size());
    }
    if (!samples[s].second.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

}  // namespace usol::report
