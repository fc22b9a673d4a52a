// Run-length masks: text, rasterising, merging, IoU.
// IoU works on sorted foreground ranges instead of walking both run lists from the start; the counts of pixels, and so
// the quotient, are the same.
#include "usol/io/rle.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "usol/io/rle_write.h"
#include "usol/tensor/check.h"

namespace usol::io {

namespace {

constexpr std::int64_t kMaxPixels = std::numeric_limits<std::uint32_t>::max();

void check_size(const char* op, std::int64_t height, std::int64_t width) {
  check(height >= 0 && width >= 0 && (width == 0 || height <= kMaxPixels / width), ErrorKind::kFormat,
        "{}: expected a mask of at most 2^32 - 1 pixels, got {} x {}", op, height, width);
}

void check_sum(const char* op, std::span<const std::uint32_t> counts, std::int64_t height, std::int64_t width) {
  std::int64_t sum = 0;
  for (const std::uint32_t count : counts) sum += count;
  check(sum == height * width, ErrorKind::kFormat,
        "{}: expected counts that add up to {} ({} x {}), got {} from {} counts", op, height * width, height, width,
        sum, counts.size());
}

// Out of line, so that the loop over characters stays small.
template <class... Args>
[[noreturn, gnu::noinline]] void fail_string(fmt::format_string<Args...> format, Args&&... args) {
  fail(ErrorKind::kFormat, "rle_from_string: " + fmt::format(format, std::forward<Args>(args)...));
}

// The runs of one mask, read in step with another's.
class RunCursor {
 public:
  explicit RunCursor(std::span<const std::uint32_t> counts) : counts_(counts) { skip_empty(); }
  bool value() const { return value_; }
  bool done() const { return left_ == 0; }
  std::uint32_t left() const { return left_; }
  void advance(std::uint32_t n) {
    left_ -= n;
    if (left_ == 0) skip_empty();
  }

 private:
  void skip_empty() {
    while (left_ == 0 && next_ < counts_.size()) {
      value_ = next_ % 2 == 1;
      left_ = counts_[next_++];
    }
  }

  std::span<const std::uint32_t> counts_;
  std::size_t next_ = 0;
  std::uint32_t left_ = 0;
  bool value_ = false;
};

// Collects (length, value) pieces into counts; neighbours of equal value become one run.
class RunBuilder {
 public:
  void add(std::uint32_t length, bool value) {
    if (length == 0) return;
    if (value != value_) {
      counts_.push_back(length_);
      length_ = 0;
      value_ = value;
    }
    length_ += length;
  }
  std::vector<std::uint32_t> finish() {
    counts_.push_back(length_);
    return std::move(counts_);
  }

 private:
  std::vector<std::uint32_t> counts_;
  std::uint32_t length_ = 0;
  bool value_ = false;
};

std::vector<std::uint32_t> merge_counts(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b,
                                        MaskMerge how) {
  RunCursor ra(a), rb(b);
  RunBuilder merged;
  while (!ra.done() && !rb.done()) {
    const std::uint32_t n = std::min(ra.left(), rb.left());
    merged.add(n, how == MaskMerge::kUnion ? ra.value() || rb.value() : ra.value() && rb.value());
    ra.advance(n);
    rb.advance(n);
  }
  return merged.finish();
}

// Foreground as half-open ranges of column-major pixel numbers, with what IoU needs.
struct Ranges {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;
  std::int64_t area = 0;
  Box box{};
};

Ranges ranges_of(const Rle& rle) {
  Ranges result;
  result.ranges.reserve(rle.counts.size() / 2);
  std::uint32_t position = 0;
  for (std::size_t i = 0; i < rle.counts.size(); ++i) {
    const std::uint32_t end = position + rle.counts[i];
    if (i % 2 == 1 && end != position) result.ranges.emplace_back(position, end);
    position = end;
  }
  result.area = rle_area(rle);
  result.box = rle_to_box(rle);
  return result;
}

std::int64_t intersection_area(const Ranges& a, const Ranges& b) {
  const auto starts_before_end = [](const auto& range, std::uint32_t start) { return range.second <= start; };
  // Both lists are sorted: begin where the later one begins.
  auto pa = a.ranges.begin();
  auto pb = b.ranges.begin();
  if (pa->first < pb->first) {
    pa = std::lower_bound(pa, a.ranges.end(), pb->first, starts_before_end);
  } else {
    pb = std::lower_bound(pb, b.ranges.end(), pa->first, starts_before_end);
  }
  std::int64_t area = 0;
  while (pa != a.ranges.end() && pb != b.ranges.end()) {
    const std::uint32_t first = std::max(pa->first, pb->first);
    const std::uint32_t last = std::min(pa->second, pb->second);
    if (first < last) area += last - first;
    if (pa->second < pb->second) {
      ++pa;
    } else {
      ++pb;
    }
  }
  return area;
}

double one_box_iou(const Box& detection, const Box& truth, bool crowd) {
  const double width = std::min(detection[2] + detection[0], truth[2] + truth[0]) - std::max(detection[0], truth[0]);
  if (width <= 0) return 0;
  const double height = std::min(detection[3] + detection[1], truth[3] + truth[1]) - std::max(detection[1], truth[1]);
  if (height <= 0) return 0;
  const double intersection = width * height;
  const double detection_area = detection[2] * detection[3];
  return intersection / (crowd ? detection_area : detection_area + truth[2] * truth[3] - intersection);
}

void check_crowd(const char* op, std::size_t truths, std::size_t flags) {
  check(flags == 0 || flags == truths, "{}: expected {} crowd flags or none, got {}", op, truths, flags);
}

// Floor division for a positive divisor.
std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Where the boundary of one polygon crosses from a pixel column into the next, as column-major pixel numbers at which
// the mask's value flips. Coordinates are rounded to a grid five times finer; every edge is walked one fine step at a
// time along its longer axis, so that its rounding, and therefore the mask, is pycocotools'.
class PolygonCrossings {
 public:
  PolygonCrossings(std::int64_t height, std::int64_t width, std::vector<std::int64_t>& flips)
      : height_(height), width_(width), flips_(flips) {}

  void walk(std::span<const double> xy) {
    const std::size_t points = xy.size() / 2;
    for (std::size_t j = 0; j < points; ++j) {
      const std::size_t next = (j + 1) % points;
      walk_edge(fine(xy[2 * j]), fine(xy[2 * j + 1]), fine(xy[2 * next]), fine(xy[2 * next + 1]));
    }
  }

 private:
  static constexpr int kScale = 5;
  static std::int64_t fine(double coordinate) { return static_cast<std::int64_t>(kScale * coordinate + .5); }

  void walk_edge(std::int64_t x0, std::int64_t y0, std::int64_t x1, std::int64_t y1) {
    const std::int64_t dx = std::abs(x1 - x0), dy = std::abs(y1 - y0);
    const bool along_x = dx >= dy;
    // The line is always evaluated from its lower end, but visited in the polygon's direction.
    const bool reversed = along_x ? x0 > x1 : y0 > y1;
    if (reversed) {
      std::swap(x0, x1);
      std::swap(y0, y1);
    }
    const std::int64_t steps = along_x ? dx : dy;
    const double slope = steps == 0 ? 0 : static_cast<double>(along_x ? y1 - y0 : x1 - x0) / static_cast<double>(steps);
    for (std::int64_t i = 0; i <= steps; ++i) {
      const std::int64_t t = reversed ? steps - i : i;
      const double offset = slope * static_cast<double>(t);
      if (along_x) {
        visit(x0 + t, static_cast<std::int64_t>(static_cast<double>(y0) + offset + .5));
      } else {
        visit(static_cast<std::int64_t>(static_cast<double>(x0) + offset + .5), y0 + t);
      }
    }
  }

  void visit(std::int64_t x, std::int64_t y) {
    if (last_) {
      const auto [last_x, last_y] = *last_;
      if (x != last_x) {
        // A fine column 5 k + 2 lies at the centre of pixel column k; only crossings of it count.
        const std::int64_t left = x < last_x ? x : x - 1;
        const std::int64_t column = floor_div(left - kScale / 2, kScale);
        if (column * kScale + kScale / 2 == left && column >= 0 && column < width_) {
          const std::int64_t row = floor_div(std::min(y, last_y) - kScale / 2 + kScale - 1, kScale);
          flips_.push_back(column * height_ + std::clamp<std::int64_t>(row, 0, height_));
        }
      }
    }
    last_ = {x, y};
  }

  std::int64_t height_, width_;
  std::vector<std::int64_t>& flips_;
  std::optional<std::pair<std::int64_t, std::int64_t>> last_;
};

Rle rasterise(std::span<const double> xy, std::int64_t height, std::int64_t width) {
  check(xy.size() % 2 == 0 && xy.size() >= kMinPolygonValues, ErrorKind::kFormat,
        "rle_from_polygons: expected x y pairs of at least three points, got {} values", xy.size());
  for (const double value : xy) {
    check(std::abs(value) <= kMaxPolygonCoordinate, ErrorKind::kFormat,
          "rle_from_polygons: expected finite coordinates within 1e7, got {}", value);
  }
  std::vector<std::int64_t> flips;
  PolygonCrossings(height, width, flips).walk(xy);
  std::sort(flips.begin(), flips.end());
  flips.push_back(height * width);
  RunBuilder runs;
  std::int64_t position = 0;
  bool value = false;
  for (const std::int64_t flip : flips) {
    runs.add(static_cast<std::uint32_t>(flip - position), value);
    position = flip;
    value = !value;
  }
  return {height, width, runs.finish()};
}

// The foreground of runs that were checked, as 1.
void draw_runs(const Rle& rle, std::uint8_t* pixels) {
  std::int64_t position = 0;
  for (std::size_t i = 0; i < rle.counts.size(); ++i) {
    const std::int64_t end = position + rle.counts[i];
    if (i % 2 == 1 && end != position) {
      std::int64_t x = position / rle.height, y = position % rle.height;
      for (; position < end; ++position) {
        pixels[y * rle.width + x] = 1;
        if (++y == rle.height) {
          y = 0;
          ++x;
        }
      }
    }
    position = end;
  }
}

}  // namespace

// ---- masks ----

Rle rle_encode(const Tensor& mask) {
  check(mask.rank() == 2, "rle_encode: expected a mask [H, W], got shape {}", mask.shape());
  check(mask.dtype() == DType::kU8 || mask.dtype() == DType::kBool, "rle_encode: expected dtype u8 or bool, got {}",
        mask.dtype());
  const std::int64_t height = mask.size(0), width = mask.size(1);
  check_size("rle_encode", height, width);
  const Tensor host = mask.to(Device{});
  const auto* pixels = reinterpret_cast<const std::uint8_t*>(host.raw());
  const std::int64_t row_stride = host.strides()[0], column_stride = host.strides()[1];
  // Columns are gathered a block at a time (a row's worth of cache lines is read once per block), then scanned.
  constexpr std::int64_t kBlock = 64;
  std::vector<std::uint8_t> block(static_cast<std::size_t>(kBlock * height));
  RunBuilder runs;
  for (std::int64_t x0 = 0; x0 < width; x0 += kBlock) {
    const std::int64_t columns = std::min(kBlock, width - x0);
    for (std::int64_t y = 0; y < height; ++y) {
      const std::uint8_t* row = pixels + y * row_stride + x0 * column_stride;
      for (std::int64_t x = 0; x < columns; ++x) block[x * height + y] = row[x * column_stride] != 0;
    }
    const std::uint8_t* position = block.data();
    const std::uint8_t* end = position + columns * height;
    while (position != end) {
      const std::uint8_t value = *position;
      const void* found = std::memchr(position, 1 - value, static_cast<std::size_t>(end - position));
      const auto* next = found ? static_cast<const std::uint8_t*>(found) : end;
      runs.add(static_cast<std::uint32_t>(next - position), value != 0);
      position = next;
    }
  }
  return {height, width, runs.finish()};
}

void rle_write(const Rle& rle, std::uint8_t* pixels) {
  check_size("rle_write", rle.height, rle.width);
  check_sum("rle_write", rle.counts, rle.height, rle.width);
  draw_runs(rle, pixels);
}

Tensor rle_decode(const Rle& rle) {
  check_size("rle_decode", rle.height, rle.width);
  check_sum("rle_decode", rle.counts, rle.height, rle.width);
  Tensor mask = Tensor::zeros({rle.height, rle.width}, DType::kU8);
  draw_runs(rle, mask.mutable_data<std::uint8_t>());
  return mask;
}

// ---- files ----

Rle rle_from_counts(std::vector<std::uint32_t> counts, std::int64_t height, std::int64_t width) {
  check_size("rle_from_counts", height, width);
  check_sum("rle_from_counts", counts, height, width);
  return {height, width, std::move(counts)};
}

void rle_counts_from_string(std::string_view text, std::int64_t height, std::int64_t width,
                            std::vector<std::uint32_t>& counts) {
  check_size("rle_from_string", height, width);
  counts.resize(text.size());  // at most one count a character
  const std::int64_t pixels = height * width;
  std::int64_t left = pixels;
  std::size_t n = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    std::int64_t value = 0;
    for (int shift = 0;; shift += 5) {
      if (at >= text.size()) [[unlikely]] {
        fail_string("the run at offset {} is cut off after {} characters", start, text.size() - start);
      }
      const unsigned code = static_cast<unsigned char>(text[at]) - unsigned{'0'};
      if (code >= 64) [[unlikely]] {
        fail_string("expected characters '0' to 'o', got code {} at offset {}", static_cast<unsigned char>(text[at]),
                    at);
      }
      if (shift > 35) [[unlikely]]
        fail_string("the run at offset {} is too long for a count", start);
      ++at;
      value |= static_cast<std::int64_t>(code & 0x1f) << shift;
      if ((code & 0x20) == 0) {
        if (code & 0x10) value -= std::int64_t{1} << (shift + 5);
        break;
      }
    }
    if (n > 2) value += counts[n - 2];
    if (value < 0 || value > left) [[unlikely]] {
      fail_string("expected a count of 0 to {} at offset {} ({} x {} pixels), got {}", left, start, height, width,
                  value);
    }
    counts[n++] = static_cast<std::uint32_t>(value);
    left -= value;
  }
  counts.resize(n);
  if (left != 0) {
    fail_string("expected counts that add up to {} ({} x {}), got {} from {} counts", pixels, height, width,
                pixels - left, n);
  }
}

Rle rle_from_string(std::string_view text, std::int64_t height, std::int64_t width) {
  Rle rle{height, width, {}};
  rle_counts_from_string(text, height, width, rle.counts);
  return rle;
}

std::string rle_to_string(const Rle& rle) {
  std::string text;
  text.reserve(rle.counts.size() * 2);
  for (std::size_t i = 0; i < rle.counts.size(); ++i) {
    std::int64_t value = rle.counts[i];
    if (i > 2) value -= rle.counts[i - 2];
    for (bool more = true; more;) {
      int code = static_cast<int>(value & 0x1f);
      value >>= 5;
      more = (code & 0x10) ? value != -1 : value != 0;
      if (more) code |= 0x20;
      text.push_back(static_cast<char>(code + '0'));
    }
  }
  return text;
}

// ---- shapes ----

Rle rle_from_polygons(std::span<const std::vector<double>> polygons, std::int64_t height, std::int64_t width) {
  check_size("rle_from_polygons", height, width);
  check(!polygons.empty(), ErrorKind::kFormat, "rle_from_polygons: expected at least one polygon, got none");
  Rle merged = rasterise(polygons[0], height, width);
  for (const auto& polygon : polygons.subspan(1)) {
    merged.counts = merge_counts(merged.counts, rasterise(polygon, height, width).counts, MaskMerge::kUnion);
  }
  return merged;
}

Rle rle_from_box(const Box& box, std::int64_t height, std::int64_t width) {
  check_size("rle_from_box", height, width);
  const double right = box[0] + box[2], bottom = box[1] + box[3];
  const std::array<double, 8> corners = {box[0], box[1], box[0], bottom, right, bottom, right, box[1]};
  return rasterise(corners, height, width);
}

// ---- arithmetic ----

std::int64_t rle_area(std::span<const std::uint32_t> counts) {
  std::int64_t area = 0;
  for (std::size_t i = 1; i < counts.size(); i += 2) area += counts[i];
  return area;
}

Box rle_to_box(const Rle& rle) {
  // 32 bits suffice for a position (check_size), and divide faster.
  const auto height = static_cast<std::uint32_t>(rle.height);
  std::uint32_t left = std::numeric_limits<std::uint32_t>::max(), top = left, right = 0, bottom = 0, position = 0;
  bool empty = true;
  for (std::size_t i = 0; i < rle.counts.size(); ++i) {
    const std::uint32_t start = position;
    position += rle.counts[i];
    if (i % 2 == 0 || position == start) continue;
    empty = false;
    const std::uint32_t first_column = start / height, last_column = (position - 1) / height;
    left = std::min(left, first_column);
    right = std::max(right, last_column);
    if (first_column < last_column) {
      top = 0;
      bottom = height - 1;
    } else {
      top = std::min(top, start % height);
      bottom = std::max(bottom, (position - 1) % height);
    }
  }
  if (empty) return {0, 0, 0, 0};
  return {static_cast<double>(left), static_cast<double>(top), static_cast<double>(right) - left + 1,
          static_cast<double>(bottom) - top + 1};
}

Rle rle_merge(std::span<const Rle> masks, MaskMerge how) {
  if (masks.empty()) return {};
  Rle merged = masks[0];
  for (const Rle& mask : masks.subspan(1)) {
    check(mask.height == merged.height && mask.width == merged.width,
          "rle_merge: expected masks of one size, got {} x {} and {} x {}", merged.height, merged.width, mask.height,
          mask.width);
    merged.counts = merge_counts(merged.counts, mask.counts, how);
  }
  return merged;
}

std::vector<double> rle_iou(std::span<const Rle> detections, std::span<const Rle> truths,
                            std::span<const std::uint8_t> is_crowd) {
  check_crowd("rle_iou", truths.size(), is_crowd.size());
  std::vector<double> ious(detections.size() * truths.size(), 0.0);
  if (ious.empty()) return ious;
  std::vector<Ranges> truth_ranges;
  truth_ranges.reserve(truths.size());
  for (const Rle& truth : truths) truth_ranges.push_back(ranges_of(truth));
  for (std::size_t d = 0; d < detections.size(); ++d) {
    const Rle& detection = detections[d];
    const Ranges ranges = ranges_of(detection);
    for (std::size_t g = 0; g < truths.size(); ++g) {
      check(detection.height == truths[g].height && detection.width == truths[g].width,
            "rle_iou: expected masks of one size, got {} x {} (detection {}) and {} x {} (truth {})", detection.height,
            detection.width, d, truths[g].height, truths[g].width, g);
      if (one_box_iou(ranges.box, truth_ranges[g].box, false) <= 0) continue;
      const std::int64_t intersection = intersection_area(ranges, truth_ranges[g]);
      if (intersection == 0) continue;
      const bool crowd = !is_crowd.empty() && is_crowd[g] != 0;
      const std::int64_t denominator = crowd ? ranges.area : ranges.area + truth_ranges[g].area - intersection;
      ious[d * truths.size() + g] = static_cast<double>(intersection) / static_cast<double>(denominator);
    }
  }
  return ious;
}

std::vector<double> box_iou(std::span<const Box> detections, std::span<const Box> truths,
                            std::span<const std::uint8_t> is_crowd) {
  check_crowd("box_iou", truths.size(), is_crowd.size());
  std::vector<double> ious;
  ious.reserve(detections.size() * truths.size());
  for (const Box& detection : detections) {
    for (std::size_t g = 0; g < truths.size(); ++g) {
      ious.push_back(one_box_iou(detection, truths[g], !is_crowd.empty() && is_crowd[g] != 0));
    }
  }
  return ious;
}

}  // namespace usol::io
