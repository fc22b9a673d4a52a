// A small network of one's own, trained with autograd and an optimiser: two fully connected layers learn which of three
// interleaved spiral arms a point of the plane lies on.
//
//   own_network        prints the loss now and then, and the share of points it gets right; 0 if that is over 95 %
#include <usol/autograd/grad_mode.h>
#include <usol/autograd/tape.h>
#include <usol/nn/linear.h>
#include <usol/nn/param_store.h>
#include <usol/ops/cross_entropy.h>
#include <usol/ops/elementwise.h>
#include <usol/ops/reduce.h>
#include <usol/tensor/generator.h>
#include <usol/train/optimizer.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

struct Net {  // the names of its parameters are "first.weight", "first.bias", ...
  usol::nn::Linear first, second, last;
  explicit Net(const usol::Scope& scope)
      : first(scope / "first", 2, 64, true, usol::init::kaiming_uniform(1)),
        second(scope / "second", 64, 64, true, usol::init::kaiming_uniform(1)),
        last(scope / "last", 64, 3) {}
  usol::Tensor operator()(const usol::Tensor& x) const { return last(relu(second(relu(first(x))))); }
};

int main() {
  std::vector<float> points;
  std::vector<std::int64_t> arms;
  for (int i = 0; i < 600; ++i) {
    const double t = 0.1 + i / 3 * 0.0225, angle = 2 * t + i % 3 * 2.0944;
    points.insert(points.end(), {static_cast<float>(t * std::cos(angle)), static_cast<float>(t * std::sin(angle))});
    arms.push_back(i % 3);
  }
  const usol::Tensor x = usol::Tensor::from(points, {600, 2}), labels = usol::Tensor::from(arms, {600});

  usol::ParamStore store(/*seed=*/1);
  const Net net{usol::Scope(store)};
  usol::train::Optimizer adamw(store, {.kind = usol::train::OptimizerKind::kAdamW, .clip_norm = 0});
  for (int step = 0; step < 400; ++step) {
    const usol::Tensor loss = mean(cross_entropy(net(x), labels));
    backward(loss);
    adamw.step(/*learning_rate=*/0.01);
    adamw.zero_grad();
    if (step % 100 == 0) std::printf("step %3d: loss %.4f\n", step, loss.item());
  }
  const usol::NoGrad no_grad;
  const std::vector<float> scores = net(x).to_vector<float>();
  int right = 0;
  for (std::size_t i = 0; i < arms.size(); ++i)
    right += std::max_element(&scores[3 * i], &scores[3 * i] + 3) - &scores[3 * i] == arms[i];
  std::printf("%.1f %% of the points are right\n", right / 6.0);
  return right > 570 ? 0 : 1;
}
