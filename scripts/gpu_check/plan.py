"""The parts of a run, in the order in which they matter if time runs out."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    name: str
    estimate: int  # seconds on an H200 with 16 cores: reckoned, until a run has said better
    limit: int  # seconds, at most
    what: str


PARTS = (
    Part("start", 15, 40, "the GPU answers, the programs find their libraries and start"),
    Part("cases", 70, 150, "every op case and every test of a CUDA device; those that fail once more, each alone"),
    Part("sanitizer", 120, 150, "the op cases, which are small, under compute-sanitizer's four tools"),
    Part("results", 40, 90, "usol maskcut and usol predict from pictures to files, beside the CPU's results"),
    Part("speed", 130, 160, "op cases with their share of the roof, beside PyTorch; pictures a second of usol maskcut"),
    Part("training", 60, 90, "losses of a few steps beside the CPU's; seconds a step of the whole detector"),
)
MINUTES = 9.5  # of one run, all parts together


def table():
    lines = [f"{'part':11}{'estimate':>9}{'at most':>9}  what"]
    lines += [f"{p.name:11}{p.estimate:8}s{p.limit:8}s  {p.what}" for p in PARTS]
    lines.append(f"{'together':11}{sum(p.estimate for p in PARTS):8}s{int(MINUTES * 60):8}s")
    return "\n".join(lines)
