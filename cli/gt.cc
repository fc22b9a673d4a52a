// usol gt: truths from one format to another: COCO, LVIS or VOC in; COCO, mask pictures, VOC or YOLO out. The work is
// in pipeline/convert_annotations.h.
#include <string>

#include "usol/cli/verb.h"
#include "usol/pipeline/convert_annotations.h"
#include "usol/tensor/check.h"

namespace usol::cli {
namespace {

class GtVerb : public Verb {
 public:
  void declare(Options& options) override {
    options.about(
        "Reads a truth (COCO or LVIS JSON, or Pascal VOC's XML files and folders of them), keeps all or a list of its "
        "images, with its own categories or one for everything, and writes it as COCO JSON, as mask pictures (the "
        "union of an image's masks, crowds left out, 0 and 255), as VOC XML, or as YOLO's segmentation labels (one "
        "polygon an object: holes and parts are joined by bridges of no width). Fields that COCO's detection format "
        "does not have are not carried over.");
    conversion_.declare(options);
    options.add("--out PATH", out_, "The COCO file, or the folder of the other formats' files", OptionKind::kRun);
    options.example("usol gt instances_val2017.json --class-agnostic --out val2017_fg.json",
                    "COCO's truth with one class");
    options.example("usol gt instances_train2014.json --subset coco_20k.txt --class-agnostic --out coco20k.json",
                    "COCO 20K");
    options.example("usol gt VOC2007/Annotations --subset VOC2007/ImageSets/Main/trainval.txt --out voc07.json",
                    "Pascal VOC 2007 as COCO JSON");
    options.example("usol gt VOC2007/Annotations --difficult keep --out voc07_corloc.json",
                    "The same for CorLoc as LOST's public code counts it: difficult objects may be found, too");
    options.example("usol gt truth.json --to yolo --out labels",
                    "YOLO: labels/NAME.txt, and labels/data.yaml with names");
    options.example("usol gt truth.json --to png --out masks", "Mask pictures, as `usol eval --saliency` reads them");
  }

  int run(const Run& run, const Options&) override {
    check(!out_.empty(), ErrorKind::kUsage, "--out PATH is missing");
    return convert_annotations(run, conversion_, out_);
  }

 private:
  AnnotationConversion conversion_;
  std::string out_;
};

const RegisterVerb<GtVerb> kGt("gt", "truths of other formats to class-agnostic COCO, subsets, masks, VOC, YOLO");

}  // namespace
}  // namespace usol::cli
