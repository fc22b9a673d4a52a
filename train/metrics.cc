#include "usol/train/metrics.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "usol/io/append_text.h"
#include "usol/io/atomic_file.h"
#include "usol/io/wait.h"
#include "usol/tensor/check.h"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace usol::train {
namespace {

// NumPy's median: the mean of the middle two of an even number. NaN for nothing.
double median(std::vector<double> values) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

bool is_evaluation(const Json& line) {
  for (const auto& [key, value] : line.items())
    if (key.find('/') != std::string::npos) return true;
  return false;
}

// Whole lines of steps before `first`; counts those that are damaged.
std::string lines_before(const fs::path& path, std::int64_t first, bool evaluate_again, std::int64_t& damaged) {
  if (fs::exists(path)) static_cast<void>(io::open_regular_file(path));  // a pipe would be waited for
  std::ifstream in(path, std::ios::binary);
  std::string kept;
  for (std::string line; std::getline(in, line);) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("iteration") || !json["iteration"].is_number_integer()) {
      ++damaged;
      continue;
    }
    const auto iteration = json["iteration"].get<std::int64_t>();
    if (iteration < first && !(evaluate_again && iteration == first - 1 && is_evaluation(json))) kept += line + "\n";
  }
  return kept;
}

std::string time_left(double seconds) {
  const auto s = static_cast<std::int64_t>(std::llround(seconds));
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

}  // namespace

Metrics::Metrics(fs::path path, std::int64_t first, const std::string& state, bool evaluate_again)
    : path_(std::move(path)), events_(path_.parent_path() / "events.out.tfevents.usol", first) {
  io::write_file(path_, lines_before(path_, first, evaluate_again, damaged_lines_));
  if (state.empty()) return;
  const Json steps = Json::parse(state, nullptr, false);
  check(steps.is_array(), ErrorKind::kFormat, "{}: the state of its open line is malformed", path_.string());
  try {
    for (const Json& step : steps) {
      StepReport report;
      report.iteration = step.at("iteration").get<std::int64_t>();
      report.losses = step.at("losses").get<std::map<std::string, double>>();
      report.figures = step.value("figures", std::map<std::string, double>());
      report.total = step.at("total").get<double>();
      report.learning_rate = step.at("lr").get<double>();
      report.gradient_norm = step.at("norm").get<double>();
      window_.push_back(std::move(report));
    }
  } catch (const Json::exception& error) {
    fail(ErrorKind::kFormat, fmt::format("{}: the state of its open line: {}", path_.string(), error.what()));
  }
}

void Metrics::add(const StepReport& report, double data_seconds, double seconds) {
  data_seconds_.push_back(data_seconds);
  seconds_.push_back(seconds);
  if (!report.bad) window_.push_back(report);
}

std::string Metrics::state() const {
  Json steps = Json::array();
  for (const StepReport& r : window_)
    steps.push_back({{"iteration", r.iteration},
                     {"losses", r.losses},
                     {"figures", r.figures},
                     {"total", r.total},
                     {"lr", r.learning_rate},
                     {"norm", r.gradient_norm}});
  return steps.dump();
}

void Metrics::append(std::int64_t iteration, const std::map<std::string, double>& values) {
  Json line{{"iteration", iteration}};
  for (const auto& [name, value] : values) line[name] = value;
  io::append_text(path_, line.dump() + "\n");
  events_.add(iteration, values);
}

std::string Metrics::write_evaluation(std::int64_t iteration, const std::map<std::string, double>& values) {
  append(iteration, values);
  std::string text = fmt::format("evaluation after step {}:", iteration + 1);
  for (const char* name : {"bbox/AP", "bbox/AP50", "bbox/AR100", "segm/AP", "segm/AP50", "segm/AR100"})
    if (const auto found = values.find(name); found != values.end())
      text += fmt::format("  {} {:.1f}", name, found->second);
  return text;
}

std::string Metrics::write(std::int64_t iterations, std::size_t memory_bytes) {
  if (window_.empty()) return {};
  const StepReport& last = window_.back();
  std::map<std::string, std::vector<double>> losses, figures;
  std::vector<double> totals, norms;
  for (const StepReport& r : window_) {
    for (const auto& [name, value] : r.losses) losses[name].push_back(value);
    for (const auto& [name, value] : r.figures) figures[name].push_back(value);
    totals.push_back(r.total);
    norms.push_back(r.gradient_norm);
  }
  const double seconds = median(seconds_), data = median(data_seconds_);
  const double eta = seconds * static_cast<double>(iterations - last.iteration - 1);
  std::map<std::string, double> values;
  for (const auto* group : {&losses, &figures})
    for (const auto& [name, of_steps] : *group) values[name] = median(of_steps);
  values["total_loss"] = median(totals);
  values["gradient_norm"] = median(norms);
  values["lr"] = last.learning_rate;
  if (!seconds_.empty()) {
    values["time"] = seconds;
    values["data_time"] = data;
    values["eta_seconds"] = eta;
  }
  values["max_mem"] = std::round(static_cast<double>(memory_bytes) / (1 << 20));
  append(last.iteration, values);
  std::string text = fmt::format("iteration {}/{}  loss {:.4f}", last.iteration + 1, iterations, values["total_loss"]);
  for (const auto& [name, of_steps] : losses)
    text += fmt::format("  {} {:.4f}", name.substr(std::string("loss_").size()), values[name]);
  for (const auto& [name, of_steps] : figures) text += fmt::format("  {} {:.3f}", name, values[name]);
  text += fmt::format("  lr {:.3g}", last.learning_rate);
  if (!seconds_.empty()) text += fmt::format("  {:.3f} s/it (data {:.3f})", seconds, data);
  text += fmt::format("  {:.0f} MB", values["max_mem"]);
  if (!seconds_.empty()) text += fmt::format("  {} left", time_left(eta));
  window_.clear();
  seconds_.clear();
  data_seconds_.clear();
  return text;
}

}  // namespace usol::train
