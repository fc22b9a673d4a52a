#include "usol/tensor/ready.h"

#include <algorithm>

#include "usol/tensor/allocator.h"

namespace usol {

Ready::Ready(Device device) {
  if (device.is_cpu()) return;
  behind_.push_back(Stream::current(device));
  made_.emplace(device);
  made_->record(behind_.front());
}

void Ready::use(std::initializer_list<Tensor> tensors) {
  if (!made_) return;
  const Stream stream = Stream::current(behind_.front().device());
  const auto same = [&](const Stream& other) { return other.handle() == stream.handle(); };
  if (std::any_of(behind_.begin(), behind_.end(), same)) return;
  made_->wait(stream);
  for (const Tensor& tensor : tensors)
    if (tensor.defined()) allocator(tensor.device().type).share(tensor.storage()->data(), stream);
  behind_.push_back(stream);
}

}  // namespace usol
