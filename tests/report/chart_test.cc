// Ticks, bins and the text of charts.
#include "usol/report/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace usol::report {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pointwise;

TEST(Chart, TicksAreRoundAndInside) {
  EXPECT_THAT(axis_ticks(0, 1, 5, false), Pointwise(testing::DoubleNear(1e-12), {0.0, 0.2, 0.4, 0.6, 0.8, 1.0}));
  EXPECT_THAT(axis_ticks(-3, 12, 4, false), Pointwise(testing::DoubleNear(1e-12), {0.0, 5.0, 10.0}));
  EXPECT_THAT(axis_ticks(980, 10020, 5, false), ElementsAre(2000, 4000, 6000, 8000, 10000));
  EXPECT_THAT(axis_ticks(1e-4, 1, 5, true), Pointwise(testing::DoubleNear(1e-12), {1e-4, 1e-3, 1e-2, 1e-1, 1.0}));
  EXPECT_THAT(axis_ticks(3, 30, 5, true), Pointwise(testing::DoubleNear(1e-9), {5.0, 10.0, 20.0}));
}

TEST(Chart, HistogramCountsEveryValueOnce) {
  const Chart chart = histogram("t", {"x", false, 0.0, 1.0}, {{"a", {0, 0.1, 0.25, 0.5, 1.0, 2.0}}, {"none", {}}}, 4);
  ASSERT_EQ(chart.series.size(), 1u);
  EXPECT_THAT(chart.series[0].x, ElementsAre(0, 0.25, 0.5, 0.75, 1));
  const double sixth = 1.0 / 6;
  EXPECT_THAT(chart.series[0].y, ElementsAre(DoubleNear(2 * sixth, 1e-12), DoubleNear(sixth, 1e-12),
                                             DoubleNear(sixth, 1e-12), DoubleNear(2 * sixth, 1e-12)));
  const Chart log = histogram("t", {"x", true, 1e-2, 1.0}, {{"a", {1e-2, 0.05, 0.2, 1e-3}}}, 2);
  EXPECT_THAT(log.series[0].y, ElementsAre(DoubleNear(0.75, 1e-12), DoubleNear(0.25, 1e-12)));
}

TEST(Chart, DrawsWhatIsFiniteAndNamesIt) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::string figure = to_figure(
      {"Loss <1>", {"iteration"}, {"loss"}, {{"a & b", {0, 1, 2, 3, 4}, {4, 3, nan, 2, 1}, 1}}, false, false});
  EXPECT_THAT(figure, HasSubstr("Loss &lt;1&gt;"));
  EXPECT_THAT(figure, HasSubstr("a &amp; b"));
  EXPECT_THAT(figure, HasSubstr("a &amp; b: 1 to 4."));
  EXPECT_THAT(figure, Not(HasSubstr("nan")));
  // Two pieces: the line is interrupted where there is no value.
  const auto line = figure.find("class=\"line c1\"");
  const std::string path = figure.substr(line, figure.find("/>", line) - line);
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 2);
  EXPECT_THAT(to_figure({"empty", {"x"}, {"y"}, {{"a", {}, {}}}}), HasSubstr("no values"));
  EXPECT_THAT(to_figure({"one", {"x"}, {"y"}, {{"a", {1, 2}, {5, 5}}}}), Not(HasSubstr("inf")));
}

}  // namespace
}  // namespace usol::report
