#include "tests/emulation/libraries/cudnn_graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "tests/emulation/libraries/operand.h"

namespace emulation {
namespace {

using usol::DType;
using usol::Shape;
using Values = DnnProgram::Values;
using Names = std::set<cudnnBackendAttributeName_t>;

struct GraphTensor {
  std::int64_t uid = 0;
  bool inside = false;  // the graph's own: not in memory
  Operand operand;
};

struct Convolution {
  std::array<std::int64_t, 2> before{}, after{}, dilation{}, stride{};
  bool flipped = false;  // a convolution in the mathematical sense
};

// Sizes of y = x * w: x [N, C, H, W], w [O, C, kh, kw], y [N, O, P, Q].
struct Sizes {
  std::int64_t n, c, h, w, o, kh, kw, p, q;
};

// Calls body(index in x, index in w, index in y) for every product of the definition, rows of y innermost.
template <class Body>
void for_products(const Sizes& s, const Convolution& v, Body&& body) {
  for (std::int64_t n = 0; n < s.n; ++n)
    for (std::int64_t o = 0; o < s.o; ++o)
      for (std::int64_t c = 0; c < s.c; ++c)
        for (std::int64_t i = 0; i < s.kh; ++i)
          for (std::int64_t j = 0; j < s.kw; ++j) {
            const std::int64_t tap_i = v.flipped ? s.kh - 1 - i : i, tap_j = v.flipped ? s.kw - 1 - j : j;
            const std::int64_t weight = ((o * s.c + c) * s.kh + tap_i) * s.kw + tap_j;
            for (std::int64_t p = 0; p < s.p; ++p) {
              const std::int64_t h = p * v.stride[0] + i * v.dilation[0] - v.before[0];
              if (h < 0 || h >= s.h) continue;
              for (std::int64_t q = 0; q < s.q; ++q) {
                const std::int64_t w = q * v.stride[1] + j * v.dilation[1] - v.before[1];
                if (w < 0 || w >= s.w) continue;
                body(((n * s.c + c) * s.h + h) * s.w + w, weight, ((n * s.o + o) * s.p + p) * s.q + q);
              }
            }
          }
}

std::vector<float> values_of(const GraphTensor& t, const Values& inside) {
  return t.inside ? inside.at(t.uid) : load<float>(t.operand);
}
void put(const GraphTensor& t, std::vector<float> values, Values& inside) {
  if (t.inside)
    inside[t.uid] = std::move(values);
  else
    store(values, t.operand);
}

class Reader {
 public:
  Reader(const std::map<std::int64_t, void*>& data, DnnPrecision precision) : data_(data), precision_(precision) {}

  DnnProgram read(const DnnRecord& graph) {
    const auto operations = graph.attributes.find(CUDNN_ATTR_OPERATIONGRAPH_OPS);
    if (operations == graph.attributes.end()) fail("a graph without operations");
    if (program_.fault.empty())
      for (const auto& operation : operations->second.descriptors) add(*operation);
    return program_;
  }

 private:
  void fail(const std::string& what) {
    if (program_.fault.empty()) program_.fault = what;
  }
  void expect(bool holds, const std::string& otherwise) {
    if (!holds) fail(otherwise);
  }
  // So that nothing that was set is passed over.
  void knows(const DnnRecord& record, const Names& names) {
    for (const auto& [name, value] : record.attributes)
      expect(names.contains(name), fmt::format("attribute {} is not interpreted", static_cast<int>(name)));
  }

  GraphTensor tensor(const DnnRecord& operation, cudnnBackendAttributeName_t name) {
    GraphTensor result;
    const auto record = operation.child(name);
    if (record == nullptr) return fail(fmt::format("tensor {} was not set", static_cast<int>(name))), result;
    knows(*record, {CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_ATTR_TENSOR_STRIDES,
                    CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_ATTR_TENSOR_IS_VIRTUAL,
                    CUDNN_ATTR_TENSOR_IS_BY_VALUE});
    result.uid = record->one<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID, -1);
    result.inside = record->one<bool>(CUDNN_ATTR_TENSOR_IS_VIRTUAL, false);
    Operand& o = result.operand;
    o.name = fmt::format("tensor {}", result.uid);
    switch (record->one<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_DATA_INT8)) {
      case CUDNN_DATA_FLOAT:
        o.dtype = DType::kF32;
        break;
      case CUDNN_DATA_HALF:
        o.dtype = DType::kF16;
        break;
      case CUDNN_DATA_BFLOAT16:
        o.dtype = DType::kBF16;
        break;
      default:
        fail(o.name + " has a type that is not interpreted");
    }
    o.dims = Shape(record->all<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS));
    o.strides = Shape(record->all<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES));
    expect(o.dims.rank() == 4 && o.strides.rank() == 4, o.name + " has not four dimensions");
    if (result.inside) return result;
    const auto found = data_.find(result.uid);
    expect(found != data_.end() && found->second != nullptr, o.name + " has no data");
    if (found == data_.end()) return result;
    o.data = found->second;
    const auto alignment = record->one<std::int64_t>(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1);
    expect(reinterpret_cast<std::uintptr_t>(o.data) % static_cast<std::uintptr_t>(alignment) == 0,
           fmt::format("{} is not aligned to {} bytes", o.name, alignment));
    return result;
  }

  // The last of the tensors is written.
  void check_memory(const std::vector<GraphTensor>& tensors) {
    std::vector<Operand> operands;
    for (const GraphTensor& t : tensors)
      if (!t.inside) operands.push_back(t.operand);
    if (tensors.back().inside) {  // written nowhere: what is read may overlap
      for (const Operand& o : operands) expect(fault_of({o}).empty(), fault_of({o}));
      return;
    }
    if (program_.fault.empty()) fail(fault_of(operands));
  }

  void add(const DnnRecord& operation) {
    switch (operation.type) {
      case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
        return add_convolution(
            operation, 2,
            {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
             CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA});
      case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
        return add_convolution(
            operation, 0,
            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA});
      case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
        return add_convolution(
            operation, 1,
            {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
             CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA});
      case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR:
        return add_pointwise(operation);
      case CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR:
        return add_attention(operation);
      default:
        fail("an operation that is not interpreted");
    }
  }

  Convolution convolution(const DnnRecord& record) {
    knows(record,
          {CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_ATTR_CONVOLUTION_CONV_MODE,
           CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_ATTR_CONVOLUTION_DILATIONS,
           CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES});
    const auto pair = [&](cudnnBackendAttributeName_t name) {
      const std::vector<std::int64_t> values = record.all<std::int64_t>(name);
      expect(values.size() == 2, "a convolution that is not of two dimensions");
      return values.size() == 2 ? std::array{values[0], values[1]} : std::array<std::int64_t, 2>{1, 1};
    };
    expect(record.one<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_HALF) == CUDNN_DATA_FLOAT,
           "a convolution is not computed in f32");
    return {pair(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS), pair(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS),
            pair(CUDNN_ATTR_CONVOLUTION_DILATIONS), pair(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES),
            record.one(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CONVOLUTION) == CUDNN_CONVOLUTION};
  }

  // names: of x, w, y, the convolution, alpha and beta; `result` says which of the first three is computed.
  void add_convolution(const DnnRecord& operation, std::size_t result,
                       const std::array<cudnnBackendAttributeName_t, 6>& names) {
    knows(operation, Names(names.begin(), names.end()));
    const auto described = operation.child(names[3]);
    expect(described != nullptr, "an operation without its convolution");
    const std::array tensors{tensor(operation, names[0]), tensor(operation, names[1]), tensor(operation, names[2])};
    if (!program_.fault.empty()) return;
    const Convolution v = convolution(*described);
    const Shape &x = tensors[0].operand.dims, &w = tensors[1].operand.dims, &y = tensors[2].operand.dims;
    const Sizes s{x[0], x[1], x[2], x[3], w[0], w[2], w[3], y[2], y[3]};
    expect(w[1] == s.c && y[0] == s.n && y[1] == s.o, "sizes of a convolution that do not fit");
    for (int d = 0; d < 2; ++d) {
      const std::int64_t padded = x[2 + d] + v.before[d] + v.after[d], reach = (w[2 + d] - 1) * v.dilation[d] + 1;
      expect(v.stride[d] > 0 && padded >= reach && y[2 + d] == (padded - reach) / v.stride[d] + 1,
             "a result of another size than the convolution's");
    }
    const auto factor = [&](cudnnBackendAttributeName_t name) { return operation.one<float>(name, NAN); };
    const float alpha = factor(names[4]), beta = factor(names[5]);
    expect(alpha == 1 && beta == 0, "factors of a convolution other than 1 and 0");
    std::vector<GraphTensor> in_order;
    for (std::size_t i = 0; i < 3; ++i)
      if (i != result) in_order.push_back(tensors[i]);
    in_order.push_back(tensors[result]);
    check_memory(in_order);

    program_.steps.push_back([precision = precision_, tensors, s, v, result](Values& inside) {
      std::array<std::vector<float>, 3> values;
      for (std::size_t i = 0; i < 3; ++i) {
        if (i == result) {
          values[i].assign(static_cast<std::size_t>(tensors[i].operand.dims.numel()), 0.0f);
        } else {
          values[i] = values_of(tensors[i], inside);
          if (precision == DnnPrecision::kTf32 && tensors[i].operand.dtype == DType::kF32)
            for (float& value : values[i]) value = to_tf32(value);
        }
      }
      float *maps = values[0].data(), *weights = values[1].data(), *sums = values[2].data();
      if (result == 0) for_products(s, v, [&](auto i, auto j, auto k) { maps[i] += weights[j] * sums[k]; });
      if (result == 1) for_products(s, v, [&](auto i, auto j, auto k) { weights[j] += maps[i] * sums[k]; });
      if (result == 2) for_products(s, v, [&](auto i, auto j, auto k) { sums[k] += maps[i] * weights[j]; });
      put(tensors[result], std::move(values[result]), inside);
    });
  }

  void add_pointwise(const DnnRecord& operation) {
    knows(operation, {CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
                      CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_ATTR_OPERATION_POINTWISE_YDESC});
    const auto what = operation.child(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    if (what == nullptr) return fail("a pointwise operation of no kind");
    knows(*what, {CUDNN_ATTR_POINTWISE_MODE, CUDNN_ATTR_POINTWISE_MATH_PREC});
    const auto mode = what->one<cudnnPointwiseMode_t>(CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_IDENTITY);
    expect(mode == CUDNN_POINTWISE_ADD || mode == CUDNN_POINTWISE_RELU_FWD, "a pointwise mode that is not interpreted");
    std::vector<GraphTensor> tensors{tensor(operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC)};
    if (mode == CUDNN_POINTWISE_ADD) tensors.push_back(tensor(operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC));
    tensors.push_back(tensor(operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC));
    if (!program_.fault.empty()) return;
    const Shape x = tensors.front().operand.dims, b = tensors[1].operand.dims;
    expect(x == tensors.back().operand.dims, "a pointwise result of another size");
    for (int d = 0; d < 4; ++d) expect(b[d] == x[d] || b[d] == 1, "sizes that do not broadcast");
    check_memory(tensors);
    program_.steps.push_back([tensors, mode, x, b](Values& inside) {
      std::vector<float> values = values_of(tensors.front(), inside);
      if (mode == CUDNN_POINTWISE_RELU_FWD) {
        for (float& value : values) value = std::max(value, 0.0f);
      } else {
        const std::vector<float> other = values_of(tensors[1], inside);
        for (std::int64_t i = 0; i < x.numel(); ++i) {
          std::int64_t at = 0, rest = i, step = 1;
          for (int d = 3; d >= 0; --d) {
            if (b[d] > 1) at += rest % x[d] * step;
            step *= b[d];
            rest /= x[d];
          }
          values[i] += other[at];
        }
      }
      put(tensors.back(), std::move(values), inside);
    });
  }

  void add_attention(const DnnRecord& operation) {
    knows(operation, {CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC,
                      CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC,
                      CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC});
    const GraphTensor q = tensor(operation, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC),
                      k = tensor(operation, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC),
                      v = tensor(operation, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC),
                      out = tensor(operation, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC),
                      factor = tensor(operation, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC);
    std::optional<GraphTensor> sums;
    if (operation.has(CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC))
      sums = tensor(operation, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC);
    if (!program_.fault.empty()) return;
    const auto scale_record = operation.child(CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC);
    expect(scale_record->one<bool>(CUDNN_ATTR_TENSOR_IS_BY_VALUE, false), "a scale that is not given by value");
    if (!program_.fault.empty()) return;
    const float scale = *static_cast<const float*>(factor.operand.data);
    const Shape queries = q.operand.dims, keys = k.operand.dims;
    expect(queries[0] == keys[0] && queries[1] == keys[1] && queries[3] == keys[3] && v.operand.dims == keys &&
               out.operand.dims == queries,
           "sizes of an attention that do not fit");
    if (sums) expect(sums->operand.dims == Shape({queries[0], queries[1], queries[2], 1}), "sums of another size");
    check_memory({q, k, v, out});
    if (sums) check_memory({q, k, v, out, *sums});
    program_.steps.push_back([q, k, v, out, sums, scale, queries, keys](Values&) {
      const std::vector<float> a = load<float>(q.operand), b = load<float>(k.operand), c = load<float>(v.operand);
      std::vector<float> result(a.size(), 0.0f), logs;
      const std::int64_t width = queries[3], length = keys[2];
      std::vector<float> scores(static_cast<std::size_t>(length));
      for (std::int64_t row = 0; row < queries[0] * queries[1] * queries[2]; ++row) {
        const std::int64_t first = row / queries[2] * length;  // of the head's keys
        for (std::int64_t j = 0; j < length; ++j) {
          float score = 0;
          for (std::int64_t d = 0; d < width; ++d) score += a[row * width + d] * b[(first + j) * width + d];
          scores[j] = score * scale;
        }
        const float most = *std::max_element(scores.begin(), scores.end());
        float total = 0;
        for (float& s : scores) total += s = std::exp(s - most);
        for (std::int64_t j = 0; j < length; ++j)
          for (std::int64_t d = 0; d < width; ++d)
            result[row * width + d] += scores[j] / total * c[(first + j) * width + d];
        logs.push_back(most + std::log(total));
      }
      store(result, out.operand);
      if (sums) store(logs, sums->operand);
    });
  }

  const std::map<std::int64_t, void*> data_;
  DnnPrecision precision_;
  DnnProgram program_;
};

}  // namespace

DnnProgram dnn_program(const DnnRecord& graph, const std::map<std::int64_t, void*>& data, DnnPrecision precision) {
  return Reader(data, precision).read(graph);
}

}  // namespace emulation
