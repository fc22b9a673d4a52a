#include <fmt/format.h>

#include <array>
#include <map>
#include <type_traits>
#include <unordered_map>

#include "usol/ops/onednn.h"

#if defined(USOL_WITH_ONEDNN)

#include "usol/autograd/grad_mode.h"
#include "usol/ops/onednn_engine.h"
#include "usol/ops/weight_cache.h"
#include "usol/tensor/check.h"
#include "usol/tensor/thread_share.h"

namespace usol {
namespace {

using dnnl::memory;
using onednn::engine;
using onednn::stream;

// What a primitive depends on.
struct Key {
  Conv2dPass pass;
  DType dtype;
  std::array<std::int64_t, 9> sizes;  // N C H W, O kh kw, H' W'
  std::array<std::int64_t, 2> stride, padding, dilation;
  std::int64_t groups;
  bool relu, accumulate, bias;
  int threads = library_threads();  // that the primitive cuts its work for
  auto operator<=>(const Key&) const = default;
};

Key make_key(Conv2dPass pass, const Tensor& map, const Shape& x, const Shape& weight, const Shape& y,
             const Conv2dOptions& o) {
  return {pass,     map.dtype(), {x[0], x[1], x[2], x[3], y[1], weight[2], weight[3], y[2], y[3]},
          o.stride, o.padding,   o.dilation,
          o.groups, false,       false,
          false};
}

// A primitive and the layouts it wants its weights in; maps are always channels last.
struct Convolution {
  dnnl::primitive primitive;
  memory::desc x, y, weight, plain_weight, bias;
};

memory::data_type type_of(DType dtype) {
  return dtype == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::dims dims(const std::array<std::int64_t, 2>& pair, std::int64_t less = 0) {
  return {pair[0] - less, pair[1] - less};
}

// Dense [O, C / g, kh, kw], seen as [g, O / g, C / g, kh, kw] if there are groups.
memory::desc weight_desc(const Key& k, memory::data_type type, bool any) {
  using tag = memory::format_tag;
  const auto& [n, c, h, w, o, kh, kw, out_h, out_w] = k.sizes;
  if (k.groups == 1) return memory::desc({o, c, kh, kw}, type, any ? tag::any : tag::oihw);
  return memory::desc({k.groups, o / k.groups, c / k.groups, kh, kw}, type, any ? tag::any : tag::goihw);
}

template <class Primitive>
typename Primitive::primitive_desc describe(const Key& k, const memory::desc& x, const memory::desc& weight,
                                            const memory::desc& bias, const memory::desc& y) {
  const auto direct = dnnl::algorithm::convolution_direct;
  const memory::dims strides = dims(k.stride), dilates = dims(k.dilation, 1), padding = dims(k.padding);
  dnnl::post_ops post;
  if (k.accumulate) post.append_sum(1.0f);
  if (k.relu) onednn::append_eltwise(post, dnnl::algorithm::eltwise_relu);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(post);
  const auto kind =
      k.pass == Conv2dPass::kForward ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
  using Forward = dnnl::convolution_forward;
  const auto forward = k.bias ? Forward::primitive_desc(engine(), kind, direct, x, weight, bias, y, strides, dilates,
                                                        padding, padding, attributes)
                              : Forward::primitive_desc(engine(), kind, direct, x, weight, y, strides, dilates, padding,
                                                        padding, attributes);
  if constexpr (std::is_same_v<Primitive, Forward>)
    return forward;
  else if constexpr (std::is_same_v<Primitive, dnnl::convolution_backward_data>)
    return {engine(), direct, x, weight, y, strides, dilates, padding, padding, forward};
  else
    return {engine(), direct, x, weight, y, strides, dilates, padding, padding, forward};
#else
  using Forward = dnnl::convolution_forward;
  const auto what = k.bias ? Forward::desc(kind, direct, x, weight, bias, y, strides, dilates, padding, padding)
                           : Forward::desc(kind, direct, x, weight, y, strides, dilates, padding, padding);
  const Forward::primitive_desc forward(what, attributes, engine());
  if constexpr (std::is_same_v<Primitive, Forward>)
    return forward;
  else
    return {typename Primitive::desc(direct, x, weight, y, strides, dilates, padding, padding), engine(), forward};
#endif
}

Convolution make_convolution(const Key& k) {
  const auto& [n, c, h, w, o, kh, kw, out_h, out_w] = k.sizes;
  const memory::data_type type = type_of(k.dtype);
  Convolution made;
  made.x = memory::desc({n, c, h, w}, type, memory::format_tag::nhwc);
  made.y = memory::desc({n, o, out_h, out_w}, type, memory::format_tag::nhwc);
  made.bias = memory::desc({o}, type, memory::format_tag::x);
  made.plain_weight = weight_desc(k, type, false);
  const memory::desc any = weight_desc(k, type, true);
  if (k.pass == Conv2dPass::kForward) {
    const auto desc = describe<dnnl::convolution_forward>(k, made.x, any, made.bias, made.y);
    made.primitive = dnnl::convolution_forward(desc);
    made.weight = desc.weights_desc();
  } else if (k.pass == Conv2dPass::kGradInput) {
    const auto desc = describe<dnnl::convolution_backward_data>(k, made.x, any, made.bias, made.y);
    made.primitive = dnnl::convolution_backward_data(desc);
    made.weight = desc.weights_desc();
  } else {
    const auto desc = describe<dnnl::convolution_backward_weights>(k, made.x, any, made.bias, made.y);
    made.primitive = dnnl::convolution_backward_weights(desc);
    made.weight = desc.diff_weights_desc();
  }
  return made;
}

// Per thread, so that no lock is needed; a cache that grows past what a detector's shapes need starts anew.
const Convolution& convolution(const Key& key) {
  constexpr std::size_t kMostShapes = 512;
  thread_local std::map<Key, Convolution> cache;
  if (const auto found = cache.find(key); found != cache.end()) return found->second;
  if (cache.size() >= kMostShapes) cache.clear();
  return cache.emplace(key, make_convolution(key)).first->second;
}

memory wrap(const memory::desc& desc, const Tensor& t) { return memory(desc, engine(), t.raw()); }

void reorder(const memory& from, const memory& to) {
  dnnl::reorder(from, to).execute(stream(), const_cast<memory&>(from), const_cast<memory&>(to));
}

// Room for weights in a primitive's layout, from the tensors' allocator: it hands out the same pages again and again.
struct Room {
  Tensor bytes;
  memory weight;
  explicit Room(const memory::desc& desc)
      : bytes(Tensor::empty({static_cast<std::int64_t>(desc.get_size())}, DType::kU8)),
        weight(desc, engine(), bytes.raw()) {}
};

// Calls use() with the weights in the layout that the primitive wants.
template <class F>
void with_packed_weight(const Convolution& c, const Tensor& weight, bool keep, F&& use) {
  static auto& cache = *new WeightCache<memory>;  // outlives every tensor
  const memory plain = wrap(c.plain_weight, weight);
  if (c.weight == c.plain_weight) return use(plain);
  if (!keep) {
    const Room room(c.weight);
    reorder(plain, room.weight);
    use(room.weight);
    stream().wait();
    return;
  }
  const memory packed = cache.find_or_make(
      weight, [&](const memory& made) { return made.get_desc() == c.weight; },
      [&] {
        const memory made(c.weight, engine());
        reorder(plain, made);
        stream().wait();
        return made;
      });
  use(packed);
}

template <class F>
void guarded(const Key& key, F&& f) {
  try {
    f(convolution(key));
    stream().wait();
  } catch (const dnnl::error& e) {
    fail(ErrorKind::kDevice, fmt::format("conv2d: oneDNN failed for x [{}] (N C H W O kh kw H' W'): {}",
                                         fmt::join(key.sizes, ", "), e.what()));
  }
}

}  // namespace

void onednn_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const Conv2dOptions& options,
                   bool accumulate, Tensor& out) {
  Key key = make_key(Conv2dPass::kForward, x, x.shape(), weight.shape(), out.shape(), options);
  key.relu = options.relu;
  key.accumulate = accumulate;
  key.bias = bias.defined();
  out.storage()->bump_version();
  guarded(key, [&](const Convolution& c) {
    with_packed_weight(c, weight, !grad_enabled(), [&](const memory& packed) {
      std::unordered_map<int, memory> arguments{
          {DNNL_ARG_SRC, wrap(c.x, x)}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, wrap(c.y, out)}};
      if (bias.defined()) arguments.insert({DNNL_ARG_BIAS, wrap(c.bias, bias)});
      c.primitive.execute(stream(), arguments);
    });
  });
}

void onednn_conv2d_grad_input(const Tensor& grad, const Tensor& weight, const Conv2dOptions& options, Tensor& out) {
  const Key key = make_key(Conv2dPass::kGradInput, grad, out.shape(), weight.shape(), grad.shape(), options);
  out.storage()->bump_version();
  guarded(key, [&](const Convolution& c) {
    with_packed_weight(c, weight, false, [&](const memory& packed) {
      c.primitive.execute(
          stream(),
          {{DNNL_ARG_DIFF_DST, wrap(c.y, grad)}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DIFF_SRC, wrap(c.x, out)}});
    });
  });
}

void onednn_conv2d_grad_weight(const Tensor& x, const Tensor& grad, const Conv2dOptions& options, Tensor& out) {
  const Key key = make_key(Conv2dPass::kGradWeight, x, x.shape(), out.shape(), grad.shape(), options);
  out.storage()->bump_version();
  guarded(key, [&](const Convolution& c) {
    const memory plain = wrap(c.plain_weight, out);
    const auto compute = [&](const memory& result) {
      c.primitive.execute(
          stream(),
          {{DNNL_ARG_SRC, wrap(c.x, x)}, {DNNL_ARG_DIFF_DST, wrap(c.y, grad)}, {DNNL_ARG_DIFF_WEIGHTS, result}});
    };
    if (c.weight == c.plain_weight) return compute(plain);
    const Room room(c.weight);
    compute(room.weight);
    reorder(room.weight, plain);
    stream().wait();
  });
}

}  // namespace usol

#endif
