#include "usol/train/gradient_sums.h"

#include <utility>

#include "usol/autograd/grad_mode.h"
#include "usol/autograd/tape.h"
#include "usol/ops/concat.h"
#include "usol/tensor/check.h"

namespace usol::train {

GradientSums::GradientSums(std::vector<Tensor> parameters, Communicator& ranks, const GradientSumsOptions& options)
    : ranks_(ranks),
      overlapping_(dynamic_cast<OverlappingRanks*>(&ranks)),
      overlap_(options.overlap && overlapping_ != nullptr) {
  std::int64_t bytes = 0;
  bool closed = true;
  for (std::size_t i = parameters.size(); i-- > 0;) {
    check(parameters[i].dtype() == DType::kF32, "gradient sums: expected f32 parameters, got {}",
          parameters[i].dtype());
    if (std::exchange(closed, false)) {
      buckets_.emplace_back();
      bytes = 0;
    }
    buckets_.back().parameters.push_back(parameters[i]);
    bytes += parameters[i].numel() * static_cast<std::int64_t>(sizeof(float));
    closed = bytes >= (buckets_.size() == 1 ? options.first_bytes : options.bytes);
  }
  if (!overlap_) return;
  for (std::size_t b = 0; b < buckets_.size(); ++b)
    for (const Tensor& parameter : buckets_[b].parameters)
      set_grad_hook(parameter, [this, b](const Tensor&) {
        if (!armed_) return;
        --buckets_[b].waits_for;
        while (started_ < buckets_.size() && buckets_[started_].waits_for == 0) start(buckets_[started_++]);
      });
}

GradientSums::~GradientSums() {
  if (!overlap_) return;
  for (const Bucket& bucket : buckets_)
    for (const Tensor& parameter : bucket.parameters) set_grad_hook(parameter, {});
}

void GradientSums::expect_last_backward() {
  for (Bucket& bucket : buckets_) bucket.waits_for = bucket.parameters.size();
  armed_ = overlap_;
}

// The gradients move into the bucket, so that one that comes late is noticed.
void GradientSums::start(Bucket& bucket) const {
  const NoGrad no_grad;
  std::vector<Tensor> flat;
  std::vector<float> has;
  for (const Tensor& parameter : bucket.parameters) {
    const Tensor gradient = grad(parameter);
    has.push_back(gradient.defined() ? 1 : 0);
    flat.push_back(gradient.defined() ? gradient.contiguous().reshape({gradient.numel()})
                                      : Tensor::zeros({parameter.numel()}, DType::kF32, parameter.device()));
    set_grad(parameter, {});
  }
  flat.push_back(Tensor::from(has, {static_cast<std::int64_t>(has.size())}).to(flat.front().device()));
  bucket.values = concat(flat);
  if (overlapping_)
    bucket.sum = overlapping_->start_all_reduce_sum(bucket.values);
  else
    ranks_.all_reduce_sum(bucket.values);
}

void GradientSums::take(Bucket& bucket) {
  if (bucket.sum.valid()) bucket.sum.get();
  const auto count = static_cast<std::int64_t>(bucket.parameters.size());
  const std::int64_t end = bucket.values.numel() - count;
  const std::vector<float> has = bucket.values.slice(0, end, end + count).to(Device::cpu()).to_vector<float>();
  std::int64_t first = 0;
  for (std::size_t i = 0; i < bucket.parameters.size(); ++i) {
    const Tensor& parameter = bucket.parameters[i];
    check(!grad(parameter).defined(), "gradient sums: a gradient of shape {} came after its sum had begun",
          parameter.shape());
    if (has[i] > 0)
      set_grad(parameter, bucket.values.slice(0, first, first + parameter.numel()).reshape(parameter.shape()));
    first += parameter.numel();
  }
  bucket.values = Tensor();
}

std::vector<std::int64_t> GradientSums::bucket_bytes() const {
  std::vector<std::int64_t> all;
  for (const Bucket& bucket : buckets_) {
    std::int64_t elements = static_cast<std::int64_t>(bucket.parameters.size());
    for (const Tensor& parameter : bucket.parameters) elements += parameter.numel();
    all.push_back(elements * static_cast<std::int64_t>(sizeof(float)));
  }
  return all;
}

void GradientSums::finish() {
  const NoGrad no_grad;
  armed_ = false;
  while (started_ < buckets_.size()) start(buckets_[started_++]);
  for (Bucket& bucket : buckets_) take(bucket);
  started_ = 0;
}

}  // namespace usol::train
