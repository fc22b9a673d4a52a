#include "usol/models/solov2/targets.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "usol/tensor/check.h"

namespace usol::solov2 {
namespace {

constexpr std::int64_t kStride = 4;      // pixels of a cell of the mask features
constexpr std::int64_t kProbe = 2;       // the pixel of a cell, down and across, that says if it is in a box
constexpr std::int64_t kOne = 1 << 11;   // OpenCV's weights are eleven bits
constexpr std::int64_t kMostAround = 1;  // cells around the centre's that an object may have

struct Sample1d {
  std::int64_t first, second;  // positions
  std::int64_t of_first, of_second;
};

// OpenCV's samples of a line of n at m places.
std::vector<Sample1d> samples(std::int64_t n, std::int64_t m) {
  std::vector<Sample1d> out;
  const double scale = 1.0 / (static_cast<double>(m) / static_cast<double>(n));
  for (std::int64_t i = 0; i < m; ++i) {
    auto at = static_cast<float>((static_cast<double>(i) + 0.5) * scale - 0.5);
    const auto whole = static_cast<std::int64_t>(std::floor(at));
    at -= static_cast<float>(whole);
    const auto weight = [](float w) { return static_cast<std::int64_t>(std::lrint(w * static_cast<float>(kOne))); };
    out.push_back({std::clamp<std::int64_t>(whole, 0, n - 1), std::clamp<std::int64_t>(whole + 1, 0, n - 1),
                   weight(1.0f - at), weight(at)});
  }
  return out;
}

std::int64_t quarter(std::int64_t size) {
  return static_cast<std::int64_t>(static_cast<double>(size) * (1.0 / kStride) + 0.5);
}

// Which of `grid` cells a position along a side of `side` pixels is in: Python's // of two f32, which the public code
// has, and which may fall below a cell's border.
std::int64_t cell_at(float position, float side, std::int64_t grid) {
  const float at = position / side, cell = static_cast<float>(1.0 / static_cast<double>(grid));
  float rest = std::fmod(at, cell), quotient = (at - rest) / cell;
  if (rest != 0 && (rest < 0)) quotient -= 1;
  const float whole = std::floor(quotient);
  return static_cast<std::int64_t>(quotient - whole > 0.5f ? whole + 1 : whole);
}

struct Centre {
  float x, y;
};

struct CellSpan {
  std::int64_t first, end;
};

// Of `count` cells along one side those whose probe lies in a box that was grown to whole pixels. Source: AdelaiDet's
// add_bitmasks_from_boxes.
CellSpan cells_of_side(float low, float high, std::int64_t count) {
  const auto after = [count](float pixel) {
    const auto whole = std::max<std::int64_t>(0, static_cast<std::int64_t>(pixel));
    return std::min(count, (whole - kProbe + kStride - 1) / kStride);
  };
  return {after(low), after(high + 1)};
}

// An object, and what all levels need of it.
struct Object {
  std::int64_t label;
  std::array<float, 4> box;
  std::optional<Centre> centre = {};   // of mass, or the box's; none without pixels
  const std::uint8_t* mask = nullptr;  // with rows `stride` apart; null where the box stands for it
  std::int64_t stride = 0;

  float width() const { return box[2] - box[0]; }
  float height() const { return box[3] - box[1]; }
  float root() const { return std::sqrt(width() * height()); }  // of the box's area
};

std::optional<Centre> centre_of_mass(const std::uint8_t* mask, const Size& size, std::int64_t stride) {
  std::int64_t count = 0, sum_x = 0, sum_y = 0;
  for (std::int64_t y = 0; y < size.height; ++y) {
    const std::uint8_t* row = mask + y * stride;
    std::int64_t in_row = 0;
    for (std::int64_t x = 0; x < size.width; ++x) {
      in_row += row[x] != 0;
      sum_x += row[x] != 0 ? x : 0;
    }
    count += in_row;
    sum_y += in_row * y;
  }
  if (count == 0) return std::nullopt;
  return Centre{static_cast<float>(sum_x) / static_cast<float>(count),
                static_cast<float>(sum_y) / static_cast<float>(count)};
}

struct CellRange {
  std::int64_t first, last;
};

// The cells along one side that learn an object with this centre and half size.
CellRange cells_around(float centre, float half, float side, std::int64_t grid) {
  const std::int64_t own = cell_at(centre, side, grid);
  const std::int64_t first = std::max<std::int64_t>(0, cell_at(centre - half, side, grid));
  const std::int64_t last = std::min(grid - 1, cell_at(centre + half, side, grid));
  return {std::max(first, own - kMostAround), std::min(last, own + kMostAround)};
}

// The targets of a level, in plain memory, as they grow.
struct Growing {
  std::vector<std::int64_t> classes, mask_of, cell_of, rows;
  std::vector<float> embeddings;
  std::vector<std::uint8_t> masks;
  std::int64_t count = 0;  // of masks
};

struct PictureTruths {
  std::vector<Object> objects;
  std::vector<float> embeddings;  // all objects' or none
};

// `masks`: those of the truth, dense on the CPU; undefined where objects are their boxes.
PictureTruths read(const detection::Truths& truth, const Tensor& masks, const Size& picture, const Config& config) {
  PictureTruths out;
  const auto boxes = truth.boxes.to_vector<float>();
  const auto classes = truth.classes.to_vector<std::int64_t>();
  for (std::size_t i = 0; i < classes.size(); ++i) {
    check(classes[i] >= 0 && classes[i] < config.classes, "solov2: expected classes 0 ... {}, got {}",
          config.classes - 1, classes[i]);
    Object object{classes[i], {boxes[4 * i], boxes[4 * i + 1], boxes[4 * i + 2], boxes[4 * i + 3]}};
    if (masks.defined()) {
      object.stride = masks.size(2);
      object.mask = reinterpret_cast<const std::uint8_t*>(masks.raw()) +
                    static_cast<std::int64_t>(i) * masks.size(1) * object.stride;
      object.centre = centre_of_mass(object.mask, picture, object.stride);
    } else if (object.width() > 0 && object.height() > 0) {
      object.centre = Centre{(object.box[0] + object.box[2]) / 2, (object.box[1] + object.box[3]) / 2};
    }
    out.objects.push_back(object);
  }
  if (truth.embeddings.defined()) out.embeddings = truth.embeddings.to_vector<float>();
  return out;
}

void add_mask(Growing& level, const Object& object, const Size& picture, const Size& features) {
  level.masks.resize(level.masks.size() + static_cast<std::size_t>(features.height * features.width), 0);
  std::uint8_t* to = level.masks.data() + level.count * features.height * features.width;
  ++level.count;
  if (object.mask == nullptr) {
    const CellSpan rows = cells_of_side(object.box[1], object.box[3], features.height);
    const CellSpan columns = cells_of_side(object.box[0], object.box[2], features.width);
    for (std::int64_t y = rows.first; y < rows.end; ++y)
      std::fill(to + y * features.width + columns.first, to + y * features.width + columns.end, std::uint8_t{1});
    return;
  }
  const std::vector<std::uint8_t> small = quarter_mask(object.mask, picture, object.stride);
  const std::int64_t height = quarter(picture.height), width = quarter(picture.width);
  for (std::int64_t y = 0; y < height; ++y) std::copy_n(small.data() + y * width, width, to + y * features.width);
}

// One picture's objects into one level.
void add(Growing& level, const PictureTruths& truths, std::int64_t picture, const Size& size, const Size& features,
         const Level& of, const Config& config) {
  const std::size_t before = level.mask_of.size();
  const std::int64_t first_cell = picture * of.grid * of.grid;
  const auto height = static_cast<float>(features.height * kStride),
             width = static_cast<float>(features.width * kStride);
  const auto sigma = static_cast<float>(config.sigma);
  for (std::size_t i = 0; i < truths.objects.size(); ++i) {
    const Object& object = truths.objects[i];
    if (!object.centre || object.root() < static_cast<float>(of.least_px) ||
        object.root() > static_cast<float>(of.most_px))
      continue;
    const CellRange rows = cells_around(object.centre->y, 0.5f * object.height() * sigma, height, of.grid);
    const CellRange columns = cells_around(object.centre->x, 0.5f * object.width() * sigma, width, of.grid);
    if (rows.first > rows.last || columns.first > columns.last) continue;
    add_mask(level, object, size, features);
    for (std::int64_t y = rows.first; y <= rows.last; ++y) {
      for (std::int64_t x = columns.first; x <= columns.last; ++x) {
        const std::int64_t cell = first_cell + y * of.grid + x;
        level.classes[static_cast<std::size_t>(cell)] = object.label;
        level.mask_of.push_back(level.count - 1);
        level.cell_of.push_back(cell);
        if (truths.embeddings.empty()) continue;
        const std::size_t e = static_cast<std::size_t>(config.embedding);
        std::copy_n(truths.embeddings.data() + i * e, e, level.embeddings.data() + static_cast<std::size_t>(cell) * e);
      }
    }
  }
  level.rows.push_back(static_cast<std::int64_t>(level.mask_of.size() - before));
}

}  // namespace

std::vector<std::uint8_t> quarter_mask(const std::uint8_t* mask, const Size& size, std::int64_t stride) {
  const std::int64_t height = quarter(size.height), width = quarter(size.width);
  const std::vector<Sample1d> rows = samples(size.height, height), columns = samples(size.width, width);
  std::vector<std::uint8_t> out(static_cast<std::size_t>(height * width));
  std::uint8_t* to = out.data();
  for (const Sample1d& y : rows) {
    const std::uint8_t *upper = mask + y.first * stride, *lower = mask + y.second * stride;
    for (const Sample1d& x : columns) {
      const auto across = [&](const std::uint8_t* row) {
        return ((row[x.first] != 0) * x.of_first + (row[x.second] != 0) * x.of_second) >> 4;
      };
      *to++ = static_cast<std::uint8_t>(
          (((across(upper) * y.of_first) >> 16) + ((across(lower) * y.of_second) >> 16) + 2) >> 2);
    }
  }
  return out;
}

std::vector<LevelTargets> make_targets(const std::vector<detection::Truths>& truths, const std::vector<Size>& pictures,
                                       const Size& features, const Config& config, const Device& device) {
  check(truths.size() == pictures.size(), "solov2: {} pictures, truths of {}", pictures.size(), truths.size());
  const auto n = static_cast<std::int64_t>(truths.size());
  const bool by_box = config.losses.kind == LossKind::kBoxInst;
  const bool embeds = config.embedding > 0 &&
                      std::any_of(truths.begin(), truths.end(), [](const auto& t) { return t.embeddings.defined(); });
  std::vector<Growing> levels(kLevels);
  for (std::size_t l = 0; l < kLevels; ++l) {
    const std::int64_t cells = n * config.levels[l].grid * config.levels[l].grid;
    levels[l].classes.assign(static_cast<std::size_t>(cells), config.outputs());
    if (embeds) levels[l].embeddings.assign(static_cast<std::size_t>(cells * config.embedding), 0);
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const detection::Truths& truth = truths[static_cast<std::size_t>(i)];
    const Size& picture = pictures[static_cast<std::size_t>(i)];
    const std::int64_t objects = truth.classes.numel();
    check(by_box || (truth.masks.defined() && truth.masks.rank() == 3 && truth.masks.size(0) == objects &&
                     truth.masks.size(1) >= picture.height && truth.masks.size(2) >= picture.width &&
                     (truth.masks.dtype() == DType::kU8 || truth.masks.dtype() == DType::kBool)),
          "solov2: expected masks u8 or bool [{}, {} or more, {} or more]; with these losses it learns from masks",
          objects, picture.height, picture.width);
    check(!truth.embeddings.defined() || truth.embeddings.shape() == Shape{objects, config.embedding},
          "solov2: expected embeddings [{}, {}], got {}", objects, config.embedding,
          truth.embeddings.defined() ? truth.embeddings.shape() : Shape{});
    const Tensor masks = by_box ? Tensor() : truth.masks.to(Device{}).contiguous();
    const PictureTruths read_truths = read(truth, masks, picture, config);
    for (std::size_t l = 0; l < kLevels; ++l)
      add(levels[l], read_truths, i, picture, features, config.levels[l], config);
  }
  std::vector<LevelTargets> out;
  for (Growing& level : levels) {
    const auto count = [](const auto& values) { return static_cast<std::int64_t>(values.size()); };
    LevelTargets targets;
    targets.classes = Tensor::from(level.classes, {count(level.classes)}).to(device);
    if (embeds)
      targets.embeddings = Tensor::from(level.embeddings, {count(level.classes), config.embedding}).to(device);
    targets.masks = Tensor::from(level.masks, {level.count, features.height, features.width}).to(device);
    targets.mask_of = Tensor::from(level.mask_of, {count(level.mask_of)}).to(device);
    targets.cell_of = Tensor::from(level.cell_of, {count(level.cell_of)}).to(device);
    targets.rows = std::move(level.rows);
    out.push_back(std::move(targets));
  }
  return out;
}

}  // namespace usol::solov2
