#include "usol/io/dinov3_names.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "usol/tensor/check.h"

namespace usol::io {
namespace {

using Tensors = std::map<std::string, Tensor>;

// This room sees neither nn/ nor ops/, so what a fresh network starts with (nn/attention.cc's mask, rope_periods() of
// ops/rope.h) is written here again; tests/models/dinov3_test.cc holds both to each other.

/// 1 for queries and values, 0 for keys: [3 width].
Tensor mask_of_biases(std::int64_t width) {
  Tensor mask = Tensor::full({3 * width}, 1);
  mask.slice(0, width, 2 * width).fill(0);
  return mask;
}

bool replace_end(std::string& name, std::string_view end, std::string_view by) {
  if (!name.ends_with(end)) return false;
  name.replace(name.size() - end.size(), end.size(), by);
  return true;
}

/// timm's name -> the original one.
std::string without_timm(std::string name, bool gated) {
  if (name == "reg_token") return "storage_tokens";
  if (!name.starts_with("blocks.")) return name;
  if (replace_end(name, ".gamma_1", ".ls1.gamma") || replace_end(name, ".gamma_2", ".ls2.gamma") || !gated) return name;
  for (const auto& [theirs, original] :
       {std::pair{".mlp.fc1_g.", ".mlp.w1."}, std::pair{".mlp.fc1_x.", ".mlp.w2."}, std::pair{".mlp.fc2.", ".mlp.w3."}})
    for (const char* part : {"weight", "bias"})
      if (replace_end(name, std::string(theirs) + part, std::string(original) + part)) return name;
  return name;
}

void rename_timm(Tensors& tensors, KeyMapReport& report) {
  if (!tensors.contains("blocks.0.gamma_1") || tensors.contains("pos_embed")) return;
  const bool gated = tensors.contains("blocks.0.mlp.fc1_g.weight");
  Tensors renamed;
  std::map<std::string, std::array<Tensor, 2>> biases;  // of queries and values, by the whole's name
  const auto add = [&](const std::string& name, const Tensor& tensor) {
    check(renamed.emplace(name, tensor).second, ErrorKind::kFormat, "key map: two tensors become '{}'", name);
  };
  for (const auto& [name, tensor] : tensors) {
    std::string whole = name;
    if (replace_end(whole, ".attn.q_bias", ".attn.qkv.bias"))
      biases[whole][0] = tensor;
    else if (replace_end(whole, ".attn.v_bias", ".attn.qkv.bias"))
      biases[whole][1] = tensor;
    else
      add(without_timm(name, gated), tensor);
  }
  for (const auto& [name, of] : biases) add_bias_without_keys(renamed, name, of[0], of[1]);
  tensors = std::move(renamed);
  report.applied.push_back("timm's names of DINOv3 became the original ones");
}

void leave_out_projectors(Tensors& tensors, KeyMapReport& report) {
  const std::size_t before = report.left_out.size();
  std::erase_if(tensors, [&](const auto& item) {
    const bool part = item.first.starts_with("projectors.");
    if (part) report.left_out.push_back(item.first);
    return part;
  });
  if (report.left_out.size() > before) report.applied.push_back("'projectors.', of EUPE's training, left out");
}

void add_periods(Tensors& tensors, KeyMapReport& report) {
  const std::string name = "rope_embed.periods";
  const Tensor& tokens = tensors.at("storage_tokens");
  if (tensors.contains(name) || tokens.rank() != 3) return;
  constexpr std::int64_t kWidth7B = 4096;
  const std::int64_t head = tokens.size(2) == kWidth7B ? 128 : 64, n = head / 4;
  Tensor periods = Tensor::empty({n});
  for (std::int64_t i = 0; i < n; ++i)
    periods.mutable_data<float>()[i] =
        static_cast<float>(std::pow(100.0, static_cast<double>(i) / static_cast<double>(n)));
  tensors[name] = periods;
  report.applied.push_back(fmt::format("'{}', which hubs do not store, made for heads of width {}", name, head));
}

bool has_nan(const Tensor& tensor) {
  const auto values = tensor.to(DType::kF32).contiguous().to_vector<float>();
  return std::any_of(values.begin(), values.end(), [](float v) { return std::isnan(v); });
}

void mend_masks(Tensors& tensors, KeyMapReport& report) {
  std::size_t mended = 0;
  for (auto& [name, tensor] : tensors) {
    if (!name.starts_with("blocks.") || !name.ends_with(".attn.qkv.bias_mask")) continue;
    if (tensor.rank() != 1 || !is_floating(tensor.dtype()) || tensor.size(0) % 3 != 0 || !has_nan(tensor)) continue;
    tensor = mask_of_biases(tensor.size(0) / 3);
    ++mended;
  }
  if (mended > 0)
    report.applied.push_back(
        fmt::format("'attn.qkv.bias_mask' of {} blocks holds NaN: 0 for keys, else 1, in its place", mended));
}

}  // namespace

Tensor joined_qkv(const std::string& name, const std::array<Tensor, 3>& parts) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    static constexpr std::array<const char*, 3> kWhich = {"query", "key", "value"};
    check(parts[i].defined(), ErrorKind::kFormat, "key map: '{}' has no {} among query, key and value", name,
          kWhich[i]);
    check(parts[i].numel() > 0 && parts[i].rank() > 0 && parts[i].shape() == parts[0].shape() &&
              parts[i].dtype() == parts[0].dtype(),
          ErrorKind::kFormat, "key map: '{}': expected query, key and value alike, got {} {} and {} {}", name,
          parts[0].dtype(), parts[0].shape(), parts[i].dtype(), parts[i].shape());
  }
  Shape shape = parts[0].shape();
  const std::int64_t rows = shape[0];
  shape[0] = 3 * rows;
  Tensor whole = Tensor::empty(shape, parts[0].dtype());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i) * rows;
    whole.slice(0, at, at + rows).copy_from(parts[i]);
  }
  return whole;
}

void add_bias_without_keys(Tensors& tensors, const std::string& name, const Tensor& queries, const Tensor& values) {
  const Tensor& one = queries.defined() ? queries : values;
  const Tensor whole = joined_qkv(name, {queries, Tensor::zeros(one.shape(), one.dtype()), values});
  check(whole.rank() == 1, ErrorKind::kFormat, "key map: '{}': expected biases [D], got {}", name, one.shape());
  check(tensors.emplace(name, whole).second && tensors.emplace(name + "_mask", mask_of_biases(one.size(0))).second,
        ErrorKind::kFormat, "key map: two tensors become '{}' or its mask", name);
}

void complete_dinov3(Tensors& tensors, KeyMapReport& report) {
  rename_timm(tensors, report);
  if (!tensors.contains("storage_tokens") || tensors.contains("pos_embed")) return;
  leave_out_projectors(tensors, report);
  add_periods(tensors, report);
  mend_masks(tensors, report);
}

}  // namespace usol::io
