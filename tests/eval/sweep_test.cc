// The points of a sweep and its tables.
#include "usol/eval/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "usol/tensor/error.h"

namespace usol::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> names(const std::vector<std::string>& parameters, bool one_at_a_time) {
  std::vector<SweepParameter> read;
  for (const auto& text : parameters) read.push_back(parse_sweep_parameter(text));
  std::vector<std::string> names;
  for (const SweepPoint& point : sweep_points(read, one_at_a_time)) names.push_back(point.name);
  return names;
}

TEST(Sweep, Points) {
  EXPECT_THAT(names({"tau=0,0.1", "masks=2,3,4"}, false),
              ElementsAre("tau=0,masks=2", "tau=0,masks=3", "tau=0,masks=4", "tau=0.1,masks=2", "tau=0.1,masks=3",
                          "tau=0.1,masks=4"));
  EXPECT_THAT(names({"tau=0,0.1", "masks=2,3,4"}, true),
              ElementsAre("tau=0", "tau=0.1", "masks=2", "masks=3", "masks=4"));
  EXPECT_THAT(names({"weights=a/b.pth"}, false), ElementsAre("weights=a_b.pth"));
}

// What one alternative alone has is varied where that is chosen.
TEST(Sweep, AlternativesHaveParametersOfTheirOwn) {
  EXPECT_THAT(names({"detector=rcnn,solov2", "solov2:loss=a,b", "lr=1,2"}, false),
              ElementsAre("detector=rcnn,lr=1", "detector=rcnn,lr=2", "detector=solov2,loss=a,lr=1",
                          "detector=solov2,loss=a,lr=2", "detector=solov2,loss=b,lr=1", "detector=solov2,loss=b,lr=2"));
  EXPECT_THAT(names({"weights=a:1.pth,b.pth", "a:1.pth:tau=0.1", "b.pth:tau=0.2,0.3"}, false),
              ElementsAre("weights=a:1.pth,tau=0.1", "weights=b.pth,tau=0.2", "weights=b.pth,tau=0.3"));
  const std::vector<std::string> chain{"detector=rcnn,solov2", "solov2:loss=a,b", "b:weight=1,2"};
  EXPECT_THAT(names(chain, false), ElementsAre("detector=rcnn", "detector=solov2,loss=a",
                                               "detector=solov2,loss=b,weight=1", "detector=solov2,loss=b,weight=2"));
  EXPECT_THAT(names(chain, true),
              ElementsAre("detector=rcnn", "detector=solov2", "detector=solov2,loss=a", "detector=solov2,loss=b",
                          "detector=solov2,loss=b,weight=1", "detector=solov2,loss=b,weight=2"));
}

TEST(Sweep, RefusesAlternativesThatAreNone) {
  const auto message = [](const std::vector<std::string>& parameters) -> std::string {
    try {
      names(parameters, false);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message({"detector=rcnn", "solov2:lr=1"}), HasSubstr("solov2:lr: solov2 is a value of no parameter"));
  EXPECT_THAT(message({"solov2:lr=1", "detector=solov2"}), HasSubstr("of no parameter before it"));
  EXPECT_THAT(message({"a=1,2", "b=2,3", "2:lr=1"}), HasSubstr("of several parameters"));
  EXPECT_THAT(message({"a=x,y", "lr=1,2", "x:lr=3"}), HasSubstr("parameter lr comes twice"));
  EXPECT_THAT(message({"a=x,y", "x:lr=3", "x:lr=4"}), HasSubstr("parameter x:lr comes twice"));
  for (const char* text : {":lr=1", "x:=1"}) EXPECT_THROW(parse_sweep_parameter(text), Error) << text;
}

// As in a settings file.
TEST(Sweep, ValuesMayBeLists) {
  EXPECT_THAT(parse_sweep_parameter("short-sides=[480,512],[600]").values, ElementsAre("480,512", "600"));
  EXPECT_THAT(parse_sweep_parameter("blocks=[1, 1, 1, 1],[3, 4, 6, 3]").values, ElementsAre("1,1,1,1", "3,4,6,3"));
  EXPECT_THAT(parse_sweep_parameter("solov2:blocks=[1,2],3").values, ElementsAre("1,2", "3"));
  EXPECT_THAT(parse_sweep_parameter("weights=a[1].pth,b.pth").values, ElementsAre("a[1].pth", "b.pth"));
  EXPECT_THAT(names({"short-sides=[480,512],[600]", "lr=1,2"}, false),
              ElementsAre("short-sides=480+512,lr=1", "short-sides=480+512,lr=2", "short-sides=600,lr=1",
                          "short-sides=600,lr=2"));
  EXPECT_EQ(sweep_points({parse_sweep_parameter("a=[1,2]")}, false)[0].settings[0].second, "1,2");
}

TEST(Sweep, SaysWhatIsWrongWithAList) {
  const auto message = [](const std::string& text) -> std::string {
    try {
      parse_sweep_parameter(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage) << text;
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message("a=[1,2"), "parameter a=[1,2: a '[' without its ']'");
  EXPECT_EQ(message("a=[1,2],[3"), "parameter a=[1,2],[3: a '[' without its ']'");
  EXPECT_EQ(message("a=1,2]"), "parameter a=1,2]: a ']' without its '['");
  EXPECT_EQ(message("a=[1,2]]"), "parameter a=[1,2]]: expected a comma or the end behind ']', got ']'");
  EXPECT_EQ(message("a=[1]2"), "parameter a=[1]2: expected a comma or the end behind ']', got '2'");
  EXPECT_EQ(message("a=[[1,2]]"), "parameter a=[[1,2]]: a list within a list");
  EXPECT_EQ(message("a=[ ]"), "parameter a=[ ]: an empty list");
  for (const char* list : {"[,1]", "[1,]", "[1,,2]"})
    EXPECT_EQ(message(std::string("a=") + list),
              std::string("parameter a=") + list + ": a value is missing in " + list);
  EXPECT_EQ(message("a=[1,2],"), "parameter a=[1,2],: a value is missing");
  EXPECT_EQ(message("a=[1,2],[1, 2]"), "parameter a=[1,2],[1, 2]: 1,2 comes twice");
  EXPECT_EQ(message("features=k+out,[k,out]"), "parameter features=k+out,[k,out]: k,out comes twice");
  EXPECT_EQ(message("a=[600],600"), "parameter a=[600],600: 600 comes twice");
}

TEST(Sweep, RefusesWhatMakesNoSense) {
  for (const char* text : {"tau", "=1", "tau=", "tau=1,,2", "tau=1,", "tau=1,1"})
    EXPECT_THROW(parse_sweep_parameter(text), Error) << text;
  EXPECT_THROW(sweep_points({}, false), Error);
  EXPECT_THROW(names({"tau=1", "tau=2"}, true), Error);
  const SweepParameter many{"a", std::vector<std::string>(101, "x")}, more{"b", std::vector<std::string>(100, "x")};
  EXPECT_THROW(sweep_points({many, more}, false), Error);
}

TEST(Sweep, Tables) {
  const auto sweep = nlohmann::ordered_json::parse(R"({"points": [
    {"name": "tau=0,masks=2", "settings": {"tau": "0", "masks": "2"}, "images": 5, "objects": 9,
     "metrics": {"box": {"AP": 0.125, "ARs": -1}, "mask": {"AP50": 0.5}}},
    {"name": "tau=1,masks=3", "settings": {"tau": "1", "masks": "3"}, "images": 5, "objects": 0,
     "metrics": {"box": {"AP": 0, "ARs": 0.25}}}]})");
  EXPECT_EQ(sweep_csv(sweep),
            "point,tau,masks,images,objects,box_AP,box_ARs,mask_AP50\n"
            "\"tau=0,masks=2\",0,2,5,9,0.125,,0.5\n"
            "\"tau=1,masks=3\",1,3,5,0,0,0.25,\n");
  EXPECT_EQ(sweep_markdown(sweep),
            "| tau | masks | objects | box AP | mask AP50 |\n"
            "|---|---|---:|---:|---:|\n"
            "| 0 | 2 | 9 | 12.5 | 50.0 |\n"
            "| 1 | 3 | 0 | 0.0 | - |\n");
}

}  // namespace
}  // namespace usol::eval
