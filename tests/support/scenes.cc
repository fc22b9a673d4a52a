#include "tests/support/scenes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <numbers>
#include <span>
#include <string>

#include "usol/io/coco.h"
#include "usol/io/image.h"
#include "usol/io/rle.h"
#include "usol/tensor/check.h"
#include "usol/tensor/generator.h"

namespace usol::test {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr double kLeastVisible = 0.4;  // of an object's pixels
constexpr std::int64_t kLeastPixels = 40;
constexpr int kTries = 20;  // to place an object so that all stay visible

using Colour = std::array<double, 3>;  // RGB in 0..1

std::int64_t whole(Generator& random, std::int64_t low, std::int64_t high) {  // both ends allowed
  return std::min(high, low + static_cast<std::int64_t>(random.uniform(0, static_cast<double>(high - low + 1))));
}

// Hue in turns.
Colour from_hsv(double hue, double saturation, double value) {
  Colour colour;
  for (std::size_t c = 0; c < 3; ++c) {
    const double turn = hue + (3.0 - static_cast<double>(c)) / 3;
    const double distance = std::abs((turn - std::floor(turn)) * 6 - 3) - 1;  // > 1: full, < 0: none
    colour[c] = value * (1 - saturation + saturation * std::clamp(distance, 0.0, 1.0));
  }
  return colour;
}

// A hash of a lattice point as a number in [0, 1).
double lattice(std::uint32_t key, std::int64_t x, std::int64_t y) {
  return static_cast<double>(
      Generator::to_unit(philox({static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(y), key, 0}, 0x7e87)[0]));
}

// Bilinear between lattice points.
double value_noise(std::uint32_t key, double x, double y) {
  const double x0 = std::floor(x), y0 = std::floor(y), fx = x - x0, fy = y - y0;
  const auto xi = static_cast<std::int64_t>(x0), yi = static_cast<std::int64_t>(y0);
  const double top = lattice(key, xi, yi) * (1 - fx) + lattice(key, xi + 1, yi) * fx;
  const double bottom = lattice(key, xi, yi + 1) * (1 - fx) + lattice(key, xi + 1, yi + 1) * fx;
  return top * (1 - fy) + bottom * fy;
}

struct Texture {
  virtual ~Texture() = default;
  virtual Colour at(double x, double y) const = 0;
};

// Two colours and the pattern between them.
struct Pattern : Texture {
  enum Kind : std::int64_t { kPlain, kStripes, kChecks, kClouds, kDots, kKinds };
  std::int64_t kind = kPlain;
  Colour a{}, b{};
  double period = 8, angle = 0, phase = 0;
  std::uint32_t key = 0;

  Pattern(Generator& random, double hue, double saturation, double value, double variety)
      : kind(whole(random, 0, kKinds - 1)),
        a(from_hsv(hue, saturation, value)),
        b(from_hsv(hue + random.uniform(-0.06, 0.06) * variety, saturation,
                   std::clamp(value + random.uniform(0.1, 0.3) * variety * (value > 0.6 ? -1 : 1), 0.05, 1.0))),
        period(random.uniform(4, 14)),
        angle(random.uniform(0, kPi)),
        phase(random.uniform(0, 1)),
        key(random.next_word()) {}

  Colour at(double x, double y) const override {
    const double u = (x * std::cos(angle) + y * std::sin(angle)) / period + phase;
    const double v = (y * std::cos(angle) - x * std::sin(angle)) / period + phase;
    double t = 0;
    if (kind == kStripes) t = 0.5 + 0.5 * std::sin(2 * kPi * u);
    if (kind == kChecks) t = (static_cast<std::int64_t>(std::floor(u)) + static_cast<std::int64_t>(std::floor(v))) & 1;
    if (kind == kClouds) t = value_noise(key, u, v);
    if (kind == kDots) t = std::hypot(u - std::floor(u) - 0.5, v - std::floor(v) - 0.5) < 0.3 ? 1 : 0;
    Colour colour;
    for (std::size_t c = 0; c < 3; ++c) colour[c] = a[c] + t * (b[c] - a[c]);
    return colour;
  }
};

// Grey waves of one length, crossing or not. Each kind's directions have cosines and sines of the same mean square, so
// all kinds have the same mean, the same deviation and the same mean square of the slopes across and down: what a patch
// of colours is described by (maskcut/colour_features.h) is the same for all, and only how the waves lie differs.
struct Waves : Texture {
  static constexpr double kLength = 5, kMean = 0.5, kDeviation = 0.16;  // pixels; grey values
  static constexpr std::int64_t kKinds = 6;
  struct Wave {
    double across, down, phase;  // turns per pixel; turns
  };
  std::vector<Wave> waves;

  Waves(Generator& random, std::int64_t kind) {
    static const std::array<std::vector<double>, kKinds> directions{
        {{45}, {135}, {0, 90}, {45, 135}, {22.5, 112.5}, {67.5, 157.5}}};
    for (const double degrees : directions[static_cast<std::size_t>(kind)]) {
      const double angle = degrees * kPi / 180;
      waves.push_back({std::cos(angle) / kLength, std::sin(angle) / kLength, random.uniform(0, 1)});
    }
  }

  Colour at(double x, double y) const override {
    double sum = 0;
    for (const Wave& wave : waves) sum += std::sin(2 * kPi * (wave.across * x + wave.down * y + wave.phase));
    const double grey = kMean + kDeviation * sum * std::sqrt(2 / static_cast<double>(waves.size()));
    return {grey, grey, grey};
  }
};

// A shape as the distance of its border from the centre, by direction.
struct Outline {
  enum Kind : std::int64_t { kEllipse, kTriangle, kRectangle, kStar, kBlob, kKinds };
  std::int64_t kind = kEllipse;
  double x = 0, y = 0, radius = 1, aspect = 1, angle = 0, phase = 0;

  Outline(Generator& random, const SceneOptions& options, double width, double height)
      : kind(whole(random, 0, kKinds - 1)),
        x(random.uniform(0.08, 0.92) * width),
        y(random.uniform(0.08, 0.92) * height),
        radius(std::exp(random.uniform(std::log(options.least_px), std::log(options.most_px))) / 2),
        aspect(random.uniform(0.55, 1)),
        angle(random.uniform(0, 2 * kPi)),
        phase(random.uniform(0, 2 * kPi)) {}

  // Half of the distance between opposite sides of a regular polygon, relative to its corners' distance.
  static double polygon(double theta, int sides) {
    const double step = 2 * kPi / sides;
    return std::cos(step / 2) / std::cos(theta - step * std::floor(theta / step) - step / 2);
  }
  double border(double theta) const {
    if (kind == kTriangle) return 1.25 * polygon(theta, 3);
    if (kind == kRectangle) return 1.2 * polygon(theta, 4);
    if (kind == kStar) return 0.8 + 0.35 * std::cos(5 * theta);
    if (kind == kBlob) return 0.85 + 0.15 * std::cos(2 * theta + phase) + 0.12 * std::cos(3 * theta - phase);
    return 1;
  }
  bool holds(double px, double py) const {
    const double dx = px - x, dy = py - y;
    const double u = dx * std::cos(angle) + dy * std::sin(angle);
    const double v = (dy * std::cos(angle) - dx * std::sin(angle)) / aspect;
    return std::hypot(u, v) <= radius * border(std::atan2(v, u));
  }
};

// What the objects of a category have in common; hues in turns.
struct Family {
  const char* name;
  Outline::Kind outline;
  Pattern::Kind pattern;
  double hue;
};
constexpr double kHueRange = 0.06;  // to both sides
constexpr std::array<Family, 4> kFamilies{{{"disc", Outline::kEllipse, Pattern::kStripes, 0.0},
                                           {"wedge", Outline::kTriangle, Pattern::kDots, 0.25},
                                           {"box", Outline::kRectangle, Pattern::kChecks, 0.5},
                                           {"star", Outline::kStar, Pattern::kPlain, 0.75}}};

class Painter {
 public:
  Painter(const SceneOptions& options, std::int64_t index)
      : options_(options), random_(options.seed, static_cast<std::uint64_t>(index)) {
    const bool wide = random_.uniform() < 0.5F;
    height_ = wide ? options.short_px : options.long_px;
    width_ = wide ? options.long_px : options.short_px;
    owner_.assign(static_cast<std::size_t>(height_ * width_), -1);
  }

  Scene paint() {
    if (options_.kind == SceneKind::kTextures) draw_kinds();
    hue_ = random_.uniform(0, 1);
    add_texture();
    const std::int64_t count = whole(random_, 1, options_.most_objects);
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t family = of_kinds() ? whole(random_, 0, std::ssize(kFamilies) - 1) : 0;
      for (int attempt = 0; attempt < kTries; ++attempt) {
        Outline outline(random_, options_, static_cast<double>(width_), static_cast<double>(height_));
        if (of_kinds()) outline.kind = kFamilies[static_cast<std::size_t>(family)].outline;
        if (!place(outline)) continue;
        categories_.push_back(family + 1);
        add_texture();
        break;
      }
    }
    return {colours(), masks(), categories_};
  }

 private:
  std::size_t at(std::int64_t y, std::int64_t x) const { return static_cast<std::size_t>(y * width_ + x); }

  bool of_kinds() const { return options_.kind == SceneKind::kKinds; }

  // No two textures of a scene are of one kind, as far as there are kinds.
  void draw_kinds() {
    for (std::int64_t i = 0; i < Waves::kKinds; ++i) kinds_.insert(kinds_.begin() + whole(random_, 0, i), i);
  }

  // Of the background, which is the first, or of the next object.
  void add_texture() {
    if (options_.kind == SceneKind::kTextures) {
      textures_.push_back(std::make_unique<Waves>(random_, kinds_[textures_.size() % kinds_.size()]));
      return;
    }
    const bool background = textures_.empty();
    const double value = random_.uniform(0.35, background ? 0.85 : 0.95);
    const double saturation = background ? random_.uniform(0.1, 0.5) : random_.uniform(0.45, 0.95);
    if (of_kinds() && !background) {
      const Family& family = kFamilies[static_cast<std::size_t>(categories_.back() - 1)];
      const double hue = family.hue + random_.uniform(-kHueRange, kHueRange);
      auto pattern = std::make_unique<Pattern>(random_, hue, saturation, value, 1.0);
      pattern->kind = family.pattern;
      textures_.push_back(std::move(pattern));
      return;
    }
    const double hue = background ? hue_ : hue_ + random_.uniform(0.17, 0.83);
    textures_.push_back(std::make_unique<Pattern>(random_, hue, saturation, value, 1.0));
  }

  // False, and nothing is changed, if too little of an object would be left visible.
  bool place(const Outline& outline) {
    std::vector<std::int64_t> owner = owner_, left(pixels_.size() + 1, 0);
    const auto self = static_cast<std::int64_t>(pixels_.size());
    for (std::int64_t y = 0; y < height_; ++y) {
      for (std::int64_t x = 0; x < width_; ++x) {
        std::int64_t& here = owner[at(y, x)];
        if (outline.holds(static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5)) here = self;
        if (here >= 0) ++left[static_cast<std::size_t>(here)];
      }
    }
    for (std::size_t i = 0; i < left.size(); ++i) {
      const auto all = i < pixels_.size() ? static_cast<double>(pixels_[i]) : static_cast<double>(left[i]);
      if (left[i] < kLeastPixels || static_cast<double>(left[i]) < kLeastVisible * all) return false;
    }
    pixels_.push_back(left.back());
    owner_ = std::move(owner);
    return true;
  }

  Tensor colours() {
    Tensor image = Tensor::empty({height_, width_, 3}, DType::kU8);
    auto* out = image.mutable_data<std::uint8_t>();
    const double light = random_.uniform(0, 2 * kPi);
    for (std::int64_t y = 0; y < height_; ++y) {
      for (std::int64_t x = 0; x < width_; ++x) {
        const double px = static_cast<double>(x), py = static_cast<double>(y);
        const Colour colour = textures_[static_cast<std::size_t>(owner_[at(y, x)] + 1)]->at(px, py);
        const double slope = std::cos(light) * (px / static_cast<double>(width_) - 0.5) +
                             std::sin(light) * (py / static_cast<double>(height_) - 0.5);
        for (const double channel : colour) {
          const double noise = random_.uniform(-0.04, 0.04);
          *out++ = static_cast<std::uint8_t>(255 * std::clamp(channel * (1 + 0.25 * slope) + noise, 0.0, 1.0));
        }
      }
    }
    return image;
  }

  std::vector<Tensor> masks() const {
    std::vector<Tensor> result;
    for (std::size_t i = 0; i < pixels_.size(); ++i) {
      Tensor mask = Tensor::empty({height_, width_}, DType::kU8);
      std::transform(owner_.begin(), owner_.end(), mask.mutable_data<std::uint8_t>(),
                     [&](std::int64_t owner) { return owner == static_cast<std::int64_t>(i) ? 1 : 0; });
      result.push_back(mask);
    }
    return result;
  }

  SceneOptions options_;
  Generator random_;
  std::int64_t height_ = 0, width_ = 0;
  double hue_ = 0;                                  // of the background, in turns
  std::vector<std::int64_t> owner_;                 // per pixel: the object in front, -1: background
  std::vector<std::int64_t> pixels_;                // per object, before others covered it
  std::vector<std::int64_t> categories_;            // of the objects, from 1
  std::vector<std::int64_t> kinds_;                 // of Waves, in the order in which they are used
  std::vector<std::unique_ptr<Texture>> textures_;  // background, then objects
};

}  // namespace

Scene make_scene(const SceneOptions& options, std::int64_t index) { return Painter(options, index).paint(); }

void write_scenes(const std::filesystem::path& folder, const SceneOptions& options, std::int64_t count) {
  std::filesystem::create_directories(folder);
  io::CocoWriter writer(folder / "truth.json");
  std::int64_t id = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const Scene scene = make_scene(options, i);
    const std::string name = fmt::format("{:05}.png", i);
    io::write_png(folder / name, scene.image);
    writer.add_image({i + 1, scene.image.size(0), scene.image.size(1), name});
    for (std::size_t k = 0; k < scene.masks.size(); ++k) {
      const io::Rle rle = io::rle_encode(scene.masks[k]);
      io::CocoAnnotation annotation;
      annotation.id = ++id;
      annotation.image_id = i + 1;
      annotation.category_id = scene.categories[k];
      annotation.box = io::rle_to_box(rle);
      annotation.area = static_cast<double>(io::rle_area(rle));
      writer.add_annotation(annotation, rle);
    }
  }
  std::vector<io::CocoCategory> categories{{1, "fg", "fg"}};
  if (options.kind == SceneKind::kKinds) {
    categories.clear();
    for (const Family& family : kFamilies) categories.push_back({std::ssize(categories) + 1, family.name, "thing"});
  }
  writer.finish(categories);
}

}  // namespace usol::test
