#pragma once
// SOLOv2: a detector without boxes. The cell in which an object's centre lies says its class and the kernel of a 1 x 1
// convolution, which makes the object's mask of features of the whole picture. FreeSOLO is the same network with losses
// for coarse masks; BoxInst's losses teach it masks from boxes alone. Parameter names are AdelaiDet's, so that its
// checkpoints and FreeSOLO's load by name. Source: Wang et al. 2020, "SOLOv2"; Wang et al. 2022, "FreeSOLO"; Tian et
// al. 2021, "BoxInst".

#include <memory>
#include <optional>
#include <vector>

#include "usol/models/backbone.h"
#include "usol/models/detector.h"
#include "usol/models/solov2/config.h"
#include "usol/models/solov2/ins_head.h"
#include "usol/models/solov2/mask_head.h"

namespace usol::solov2 {

class Solov2 : public Detector {
 public:
  /// `device` and `dtype` are those of the scope's store.
  Solov2(const Scope& scope, const Config& config, Device device = {}, DType dtype = DType::kF32);

  const Config& config() const { return config_; }
  detection::Info info() const override;

  /// The network: pictures as they come -> what is said of the cells of each level, and the mask features.
  struct Output {
    std::vector<Cells> cells;
    Tensor features;  // [N, kernel channels, H, W], a quarter of the padded pictures
  };
  Output forward(const std::vector<Tensor>& pictures, const Context& context) const;
  /// p2 ... p6 of pictures.
  std::vector<Tensor> maps(const std::vector<Tensor>& pictures, const Context& context) const;
  const InsHead& ins_head() const { return ins_head_; }
  const MaskHead& mask_head() const { return mask_head_; }

  /// Supervised: "loss_ins", "loss_cate"; FreeSOLO's also "loss_ins_max", "loss_pairwise", "loss_emb"; BoxInst's, which
  /// looks at no masks: "loss_prj", "loss_pairwise", "loss_cate". Nothing is drawn.
  detection::Losses losses(const std::vector<Tensor>& pictures, const std::vector<detection::Truths>& truths,
                           const detection::Draws& draws, const Context& context) const override;
  /// All batch norms are in the backbone.
  void run_norms(const std::vector<Tensor>& pictures, const Context& context) const override;
  /// All of it: masks come before suppression. No maps are kept.
  detection::Seen see(const std::vector<Tensor>& pictures, const detection::DetectOptions& options) const override;
  void add_masks(detection::Seen& seen) const override;

 private:
  Config config_;
  Device device_;
  DType dtype_;
  std::shared_ptr<Backbone> backbone_;
  InsHead ins_head_;
  MaskHead mask_head_;
};

/// Reads classes, widths and depths off a checkpoint's shapes; nothing if it is no SOLOv2. What no shape shows is as
/// published: a file of ours or of FreeSOLO's is for RGB with ImageNet's mean and deviation and has its strides in the
/// 3 x 3; any other is taken for AdelaiDet's, whose backbones are MSRA's (BGR, mean alone, strides in the 1 x 1).
std::optional<Config> config_of(const StateDict& state);

/// Makes a Solov2 of that config.
MakeDetector maker(const Config& config);

}  // namespace usol::solov2
