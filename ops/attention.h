#pragma once
// Scaled dot-product attention, fused: the L x L score matrix is never stored.

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// What is added to the scores of keys that are the pixels of a map [h, w], row by row: rows[.., i] + columns[.., j]
/// for the key at (i, j). Both undefined: nothing.
struct AttentionBias {
  Tensor rows, columns;  // [N, H, Lq, h], [N, H, Lq, w]; h w = Lk; q's dtype and device

  bool defined() const { return rows.defined(); }
};

/// softmax(q k^T * scale + bias) v per batch entry and head. q [N, H, Lq, D], k and v [N, H, Lk, D], one floating
/// dtype, any strides (a last dimension that is not dense is copied). `scale` 0 means 1/sqrt(D). The result is [N, H,
/// Lq, D], a view of a dense [N, Lq, H, D] tensor, so that merging the heads costs nothing. Gradients to q, k, v and
/// the bias by recomputation (the saved state is O(Lq)). Scores and sums are f32 for f16 and bf16. Throws Error on
/// shapes or dtypes that do not fit, or Lk = 0. Source: Vaswani et al. 2017; online softmax as in Milakov & Gimelshein
/// 2018 and Dao et al. 2022.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, double scale = 0, const AttentionBias& bias = {});

/// out as described above; log_sum [N, H, Lq] (f32; f64 for f64) receives log(sum(exp(scores))) of each row, or is
/// undefined when nobody needs it. q, k, v have a dense last dimension; the bias is dense.
extern Kernel<void(const Tensor& q, const Tensor& k, const Tensor& v, double scale, const AttentionBias& bias,
                   Tensor& out, Tensor& log_sum)>
    attention_kernel;
/// Gradients of attention; those of q, k and v dense [N, H, L, D]; `out`, `grad_out` as attention's result; those of
/// the bias dense and in log_sum's dtype (undefined without a bias).
extern Kernel<void(const Tensor& q, const Tensor& k, const Tensor& v, double scale, const AttentionBias& bias,
                   const Tensor& out, const Tensor& log_sum, const Tensor& grad_out, Tensor& grad_q, Tensor& grad_k,
                   Tensor& grad_v, AttentionBias& grad_bias)>
    attention_grad_kernel;

}  // namespace usol
