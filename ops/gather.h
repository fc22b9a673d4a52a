#pragma once
// Elements by index: whole rows (index_select, as embeddings and top-k need) or one element each (gather).

#include "usol/tensor/kernel.h"
#include "usol/tensor/tensor.h"

namespace usol {

/// The entries `index` (i64, [m]) of dimension `dim`, in that order, repeats allowed. Any dtype; gradient to a (repeats
/// add up, in f32 for f16 and bf16). Throws Error if an index is outside [0, a.size(dim)); on CUDA that is an assertion
/// on the device, reported at the next synchronisation.
Tensor index_select(const Tensor& a, const Tensor& index, int dim = 0);
/// out[i, j, ...] = a[..., index[i, j, ...], ...] with the index put in at `dim`. `index` (i64) has a's sizes but along
/// `dim`. Gradient to a. Errors as index_select.
Tensor gather(const Tensor& a, const Tensor& index, int dim);
/// The inverse: zeros of size n along `dim`, with each row of `a` added at its index ([m], m = a.size(dim)), in order.
/// Floating. Gradient to a.
Tensor index_add(const Tensor& a, const Tensor& index, std::int64_t n, int dim = 0);

/// All tensors dense; index i64. in [outer, n, inner], index [m], out [outer, m, inner].
extern Kernel<void(const Tensor& in, const Tensor& index, Tensor& out)> index_select_kernel;
/// in [outer, m, inner] is added into out [outer, n, inner]; f32 or f64, the same bits in every run.
extern Kernel<void(const Tensor& in, const Tensor& index, Tensor& out)> index_add_kernel;
/// in [outer, n, inner], index and out [outer, m, inner].
extern Kernel<void(const Tensor& in, const Tensor& index, Tensor& out)> gather_kernel;
/// in and index [outer, m, inner]; in is added into out [outer, n, inner]; f32 or f64, the same bits in every run.
extern Kernel<void(const Tensor& in, const Tensor& index, Tensor& out)> scatter_add_kernel;

}  // namespace usol
