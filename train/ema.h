#pragma once
// A running average of a model's weights, which often predicts better than the weights themselves.
// Source: Polyak & Juditsky 1992; Tarvainen & Valpola 2017 ("Mean teachers").

#include "usol/nn/param_store.h"

namespace usol::train {

/// average = decay * average + (1 - decay) * now, in place.
void move_average(Tensor& average, const Tensor& now, double decay);

class Ema {
 public:
  /// Averages all parameters and statistics of the store: average = decay * average + (1 - decay) * now. The store must
  /// outlive this. Throws Error(kUsage) unless 0 < decay < 1.
  Ema(const ParamStore& store, double decay);

  /// The averages begin again from the store's present values.
  void reset();
  /// After a step.
  void update();
  /// Exchanges averages and the store's values: once to use the averages, once more to go back.
  void swap();
  /// The averages by name, sharing storage.
  const StateDict& state() const { return averages_; }
  /// Copies averages in. Throws Error(kFormat) listing names that are missing, unknown or of another shape.
  void load_state(const StateDict& state);

 private:
  const ParamStore& store_;
  double decay_;
  StateDict averages_;
};

/// The store holds the averages while this lives. Does nothing without an Ema.
class EmaScope {
 public:
  explicit EmaScope(Ema* ema) : ema_(ema) {
    if (ema_) ema_->swap();
  }
  ~EmaScope() {
    if (ema_) ema_->swap();
  }
  EmaScope(const EmaScope&) = delete;
  EmaScope& operator=(const EmaScope&) = delete;

 private:
  Ema* ema_;
};

}  // namespace usol::train
