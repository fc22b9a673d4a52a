#include "usol/models/vitdet.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "usol/nn/attention.h"
#include "usol/nn/norm.h"
#include "usol/ops/cast.h"
#include "usol/ops/concat.h"
#include "usol/ops/elementwise.h"
#include "usol/ops/gather.h"
#include "usol/ops/interpolate.h"
#include "usol/ops/matmul.h"
#include "usol/ops/pool2d.h"
#include "usol/ops/view.h"
#include "usol/tensor/check.h"

namespace usol {
namespace {

// PyTorch's start of a convolution: U(-b, b), b = 1 / sqrt(fan in).
Initializer pytorch_start() { return init::kaiming_uniform(std::sqrt(5.0f)); }

// x [N, H, W, C] with `fill` [C] below and on the right up to multiples of `step`.
Tensor padded(const Tensor& x, const Tensor& fill, std::int64_t step) {
  const std::int64_t n = x.size(0), c = x.size(3);
  const auto missing = [&](std::int64_t size) { return (step - size % step) % step; };
  const auto rows = [&](std::int64_t h, std::int64_t w) { return expand(reshape(fill, {1, 1, 1, c}), {n, h, w, c}); };
  Tensor y = x;
  if (missing(x.size(2)) > 0) y = concat({y, rows(x.size(1), missing(x.size(2)))}, 2);
  if (missing(x.size(1)) > 0) y = concat({y, rows(missing(x.size(1)), y.size(2))}, 1);
  return y;
}

// [N, H, W, C] -> [N windows, window, window, C], H and W multiples of the window.
Tensor to_windows(const Tensor& x, std::int64_t window) {
  const std::int64_t n = x.size(0), rows = x.size(1) / window, columns = x.size(2) / window, c = x.size(3);
  return reshape(permute(reshape(x, {n, rows, window, columns, window, c}), {0, 1, 3, 2, 4, 5}),
                 {n * rows * columns, window, window, c});
}

// The inverse, for a map of height x width windows; only the first h x w pixels stay.
Tensor from_windows(const Tensor& x, std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t window) {
  const std::int64_t rows = (h + window - 1) / window, columns = (w + window - 1) / window, c = x.size(3);
  const Tensor map = reshape(permute(reshape(x, {n, rows, columns, window, window, c}), {0, 1, 3, 2, 4, 5}),
                             {n, rows * window, columns * window, c});
  return slice(slice(map, 1, 0, h), 2, 0, w);
}

// The embeddings [size, size, D] of position i relative to position j, from those of the differences 1 - s ... s - 1 in
// `stored` [2 s - 1, D], resized where s is another size.
Tensor relative(const Tensor& stored, std::int64_t size) {
  const std::int64_t rows = 2 * size - 1, width = stored.size(1);
  Tensor all = stored;
  if (stored.size(0) != rows) {
    const Tensor line = reshape(transpose(cast(stored, DType::kF32), 0, 1), {1, width, 1, stored.size(0)});
    all = transpose(reshape(interpolate(line, 1, rows), {width, rows}), 0, 1);
  }
  std::vector<std::int64_t> index;
  for (std::int64_t i = 0; i < size; ++i)
    for (std::int64_t j = 0; j < size; ++j) index.push_back(i - j + size - 1);
  return reshape(index_select(all, Tensor::from(index, {size * size}).to(stored.device())), {size, size, width});
}

nn::TransformerBlockConfig block_config(const VitDetConfig& c, std::int64_t index) {
  const double place = c.depth > 1 ? static_cast<double>(index) / static_cast<double>(c.depth - 1) : 0;
  return {.width = c.width, .heads = c.heads, .mlp_hidden = c.mlp_hidden, .drop_path = c.drop_path * place};
}

bool any_begins_with(const StateDict& state, const std::string& prefix) {
  const auto first = state.lower_bound(prefix);
  return first != state.end() && first->first.starts_with(prefix);
}

MakeBackbone recognise(const StateDict& state, const std::string& prefix) {
  constexpr std::int64_t kMaxWidth = std::int64_t{1} << 24;
  const auto config = vitdet_config(state, prefix);
  if (!config) return {};
  for (const std::int64_t size : {config->width, config->mlp_hidden, config->image_px, config->channels})
    if (size >= kMaxWidth) return {};
  return vitdet_backbone(*config);
}

std::optional<Description> describe(const StateDict& state, const std::string& prefix) {
  std::int64_t blocks = 0;
  while (any_begins_with(state, fmt::format("{}net.blocks.{}.", prefix, blocks))) ++blocks;
  if (!any_begins_with(state, prefix + "net.blocks.")) return std::nullopt;
  Description out;
  out.architecture = fmt::format("ViT with {} blocks", blocks);
  if (any_begins_with(state, prefix + "simfp_")) out.architecture += ", simple feature pyramid";
  if (const auto c = vitdet_config(state, prefix))
    out.facts.emplace_back(
        "ViT", fmt::format("width {}, {} heads, patch {}, windows of {} x {} patches, pictures of {} px", c->width,
                           c->heads, c->patch, c->window, c->window, c->image_px));
  return out;
}

std::unique_ptr<BackboneSettings> settings() { return std::make_unique<VitDetSettings>(); }

const Registry<BackboneKind>::Add kVitDet({"vitdet", recognise, describe, "net.", settings});

}  // namespace

void VitDetSettings::declare(Settings& settings) {
  settings.add("vit-width N", width, "Width of the ViT, of which every 64 are a head").at_least(64);
  settings.add("vit-depth N", depth, "Blocks; the last one of each quarter attends to the whole picture").at_least(4);
  settings.add("image-side PX", image_px, "Pictures are padded to this square; the long side may be no more")
      .between(32, 16384);
  settings.add("drop-path P", drop_path, "Probability of leaving out the last block's branches; less before it")
      .between(0, 0.9);
}

MakeBackbone VitDetSettings::make(std::int64_t channels) const {
  check(width % 64 == 0 && depth % 4 == 0 && image_px % 32 == 0, ErrorKind::kUsage,
        "vit-width {}, vit-depth {}, image-side {}: expected multiples of 64, 4 and 32", width, depth, image_px);
  VitDetConfig v;
  v.width = width;
  v.depth = depth;
  v.heads = width / 64;
  v.mlp_hidden = 4 * width;
  v.global_blocks = evenly_spaced_global_blocks(depth);
  v.image_px = image_px;
  v.drop_path = drop_path;
  v.channels = channels;
  return vitdet_backbone(v);
}

std::vector<std::int64_t> evenly_spaced_global_blocks(std::int64_t depth) {
  check(depth > 0 && depth % 4 == 0, "vitdet: expected a depth that four divides, got {}", depth);
  std::vector<std::int64_t> blocks;
  for (std::int64_t part = 1; part <= 4; ++part) blocks.push_back(part * depth / 4 - 1);
  return blocks;
}

std::optional<VitDetConfig> vitdet_config(const StateDict& state, const std::string& prefix) {
  const auto find = [&](const std::string& name, int rank) -> const Tensor* {
    const auto found = state.find(prefix + name);
    return found == state.end() || found->second.rank() != rank ? nullptr : &found->second;
  };
  const Tensor* patch = find("net.patch_embed.proj.weight", 4);
  const Tensor* position = find("net.pos_embed", 3);
  const Tensor* hidden = find("net.blocks.0.mlp.fc1.weight", 2);
  const Tensor* pyramid = find("simfp_4.0.weight", 4);
  std::vector<std::int64_t> sizes;  // in patches, that each block's relative positions are stored for
  while (const Tensor* rows = find(fmt::format("net.blocks.{}.attn.rel_pos_h", sizes.size()), 2))
    sizes.push_back((rows->size(0) + 1) / 2);
  const Tensor* rows = find("net.blocks.0.attn.rel_pos_h", 2);
  if (!patch || !position || !hidden || !pyramid || !rows || rows->size(1) == 0 || patch->size(2) == 0)
    return std::nullopt;
  VitDetConfig c;
  c.width = patch->size(0);
  c.patch = patch->size(2);
  c.depth = static_cast<std::int64_t>(sizes.size());
  c.heads = c.width / rows->size(1);
  c.mlp_hidden = hidden->size(0);
  c.channels = pyramid->size(0);
  c.drop_path = 0;
  // The first block attends within windows, the last one to the whole map.
  c.window = sizes.front();
  c.image_px = sizes.back() * c.patch;
  c.global_blocks.clear();
  if (sizes.front() != sizes.back()) {
    for (std::size_t i = 0; i < sizes.size(); ++i)
      if (sizes[i] != c.window) c.global_blocks.push_back(static_cast<std::int64_t>(i));
  } else if (c.depth % 4 == 0) {  // windows as large as the map: the shapes do not say which blocks are global
    c.global_blocks = evenly_spaced_global_blocks(c.depth);
  }
  const auto root = [](std::int64_t x) { return std::llround(std::sqrt(static_cast<double>(x))); };
  const std::int64_t tokens = position->size(1);
  c.position_grid = root(tokens);
  c.position_of_class = c.position_grid * c.position_grid != tokens;
  if (c.position_of_class) c.position_grid = root(tokens - 1);
  return c;
}

MakeBackbone vitdet_backbone(const VitDetConfig& config) {
  return [config](const Scope& scope) { return std::make_unique<VitDet>(scope, config); };
}

VitDet::Block::Block(const Scope& scope, const VitDetConfig& c, std::int64_t index)
    : block(scope, block_config(c, index)),
      window(std::count(c.global_blocks.begin(), c.global_blocks.end(), index) > 0 ? 0 : c.window) {
  const std::int64_t size = window > 0 ? window : c.image_px / c.patch;
  rel_pos_h = (scope / "attn").parameter("rel_pos_h", {2 * size - 1, c.width / c.heads}, init::zeros());
  rel_pos_w = (scope / "attn").parameter("rel_pos_w", {2 * size - 1, c.width / c.heads}, init::zeros());
}

Tensor VitDet::Block::operator()(const Tensor& x, const Context& context) const {
  return block(x, context, [this](const Tensor& projected) { return mix(projected); });
}

Tensor VitDet::Block::mix(const Tensor& projected) const {
  if (window == 0) return attend(projected);
  const std::int64_t n = projected.size(0), h = projected.size(1), w = projected.size(2);
  // Pixels that fill the last windows are zeros before the projection, so its bias behind it. They are keys like all.
  const Tensor fill = cast(block.attn.qkv.bias, projected.dtype());
  return from_windows(attend(to_windows(padded(projected, fill, window), window)), n, h, w, window);
}

// All pixels of a map attend to each other: the scores are q . k / sqrt(d) + q . (row embedding) + q . (column
// embedding).
Tensor VitDet::Block::attend(const Tensor& projected) const {
  const std::int64_t n = projected.size(0), h = projected.size(1), w = projected.size(2);
  const std::int64_t heads = block.attn.heads;
  const auto bias = [&](const Tensor& queries) -> AttentionBias {
    const auto embeddings = [&](const Tensor& stored, std::int64_t size) {  // [size, d, size]
      return cast(transpose(relative(stored, size), 1, 2), queries.dtype());
    };
    const Tensor map = reshape(queries, {n, heads, h, w, queries.size(3)});
    const Tensor of_rows = matmul(map, embeddings(rel_pos_h, h));  // [N, heads, h, w, h]
    const Tensor of_columns =
        transpose(matmul(transpose(map, 2, 3), embeddings(rel_pos_w, w)), 2, 3);  // [N, heads, h, w, w]
    return {reshape(of_rows, {n, heads, h * w, h}), reshape(of_columns, {n, heads, h * w, w})};
  };
  const Tensor tokens = reshape(projected, {n, h * w, projected.size(3)});
  return reshape(block.attn.mix(tokens, {.bias = bias}), {n, h, w, projected.size(3) / 3});
}

// Four maps of the last one, each by itself: by deconvolutions, as it is, by pooling; then two convolutions.
struct VitDet::Pyramid {
  struct Level {
    nn::Conv2d first, second;
    Level(const Scope& scope, std::int64_t place, std::int64_t in, std::int64_t out)
        : first(scope / place, in, out, 1, {.norm = nn::NormKind::kLn, .init = pytorch_start()}),
          second(scope / (place + 1), out, out, 3, {.padding = 1, .norm = nn::NormKind::kLn, .init = pytorch_start()}) {
    }
    Tensor operator()(const Tensor& x, const Context& context) const { return second(first(x, context), context); }
  };
  nn::ConvTranspose2d up4, up4_again, up2;
  nn::LayerNorm norm4;
  std::vector<Level> levels;

  Pyramid(const Scope& scope, const std::vector<std::string>& names, const VitDetConfig& c)
      : up4(scope / names[0] / "0", c.width, c.width / 2, 2, 2, false, pytorch_start()),
        up4_again(scope / names[0] / "3", c.width / 2, c.width / 4, 2, 2, false, pytorch_start()),
        up2(scope / names[1] / "0", c.width, c.width / 2, 2, 2, false, pytorch_start()),
        norm4(scope / names[0] / "1", c.width / 2) {
    levels.emplace_back(scope / names[0], 4, c.width / 4, c.channels);
    levels.emplace_back(scope / names[1], 1, c.width / 2, c.channels);
    levels.emplace_back(scope / names[2], 0, c.width, c.channels);
    levels.emplace_back(scope / names[3], 1, c.width, c.channels);
  }

  std::vector<Tensor> operator()(const Tensor& x, const Context& context) const {
    const Tensor four = up4_again(gelu(nn::norm_channels(norm4, up4(x)))), two = up2(x);
    const Tensor half = max_pool2d(x, {.kernel = {2, 2}, .stride = {2, 2}});
    std::vector<Tensor> maps{levels[0](four, context), levels[1](two, context), levels[2](x, context),
                             levels[3](half, context)};
    maps.push_back(max_pool2d(maps.back(), {.kernel = {1, 1}, .stride = {2, 2}}));
    return maps;
  }
};

VitDet::VitDet(const Scope& scope, const VitDetConfig& config)
    : config_(config),
      patch_embed_(scope / "net" / "patch_embed" / "proj", config.width, config.patch, pytorch_start()) {
  const VitDetConfig& c = config_;
  check(c.heads > 0 && c.width % c.heads == 0 && c.width % 4 == 0,
        "vitdet: width {} is not a multiple of 4 and of {} heads", c.width, c.heads);
  check(c.patch >= 4 && std::has_single_bit(static_cast<std::uint64_t>(c.patch)),
        "vitdet: expected a patch of 4, 8, 16 ... pixels, got {}", c.patch);
  check(c.window > 0 && c.image_px > 0 && c.image_px % c.patch == 0,
        "vitdet: expected windows, and pictures of whole patches, got {} and {} px", c.window, c.image_px);
  const std::int64_t positions = c.position_grid * c.position_grid + (c.position_of_class ? 1 : 0);
  pos_embed_ = (scope / "net").parameter("pos_embed", {1, positions, c.width}, init::trunc_normal(0.02f));
  for (std::int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(scope / "net" / "blocks" / i, c, i);
  const int first = std::countr_zero(static_cast<std::uint64_t>(c.patch)) - 2;  // two levels above the patches
  std::vector<std::string> names;
  for (int level = first; level < first + 5; ++level) {
    outputs_.push_back({fmt::format("p{}", level), c.channels, std::int64_t{1} << level});
    names.push_back(fmt::format("simfp_{}", level));
  }
  pyramid_ = std::make_shared<Pyramid>(scope, names, c);
}

Tensor VitDet::position_embedding(std::int64_t h, std::int64_t w) const {
  const std::int64_t grid = config_.position_grid, d = config_.width;
  const Tensor stored = config_.position_of_class ? slice(pos_embed_, 1, 1, grid * grid + 1) : pos_embed_;
  const Tensor map = reshape(stored, {1, grid, grid, d});
  if (h == grid && w == grid) return map;
  const Tensor resized =
      interpolate(permute(cast(map, DType::kF32), {0, 3, 1, 2}), h, w, {.mode = InterpolateMode::kBicubic});
  return permute(resized, {0, 2, 3, 1});
}

Tensor VitDet::tokens(const Tensor& images, const Context& context) const {
  const std::int64_t h = images.size(2) / config_.patch, w = images.size(3) / config_.patch;
  Tensor x = reshape(patch_embed_(images), {images.size(0), h, w, config_.width});
  x = add(x, cast(position_embedding(h, w), x.dtype()));
  for (const Block& block : blocks_) x = block(x, context);
  return x;
}

std::vector<Tensor> VitDet::forward(const Tensor& images, const Context& context) const {
  check(images.rank() == 4 && images.size(2) % size_divisibility_px() == 0 &&
            images.size(3) % size_divisibility_px() == 0 && images.size(2) > 0 && images.size(3) > 0,
        "vitdet: expected images [N, 3, H, W] with H and W multiples of {}, got {}", size_divisibility_px(),
        images.shape());
  return (*pyramid_)(permute(tokens(images, context), {0, 3, 1, 2}), context);
}

}  // namespace usol
