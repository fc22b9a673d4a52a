#!/usr/bin/env python3
"""What adding up gradients between GPUs costs: a MODEL, not a measurement. A table in Markdown on stdout.

usage: scaling_model.py [--gpus 8 64] [--node 8] [--nvlink GB/s] [--network GB/s ...] [--efficiency 0.8]
       [--step SECONDS] [--backward 0.67] [--host-sum MICROSECONDS]

Counted: the bytes of each bucket (`mpirun -n 2 usol train -v --dry-run` prints them) and the norms that speak to other
ranks. Assumed: everything else, as the options say; --step replaces the published times.

A ring all-reduce of B bytes over n GPUs sends 2 (n-1)/n B over every link, in 2 (n-1) steps:

    t(B) = base + steps within nodes * a_nvlink + steps between nodes * a_network + 2 (n-1)/n * B / bandwidth

The bandwidth is the lesser of a GPU's NVLink and all network adapters of a machine together (NCCL lays a ring through
each of them), times the efficiency. Buckets travel one after the other. Without
overlap they all come after the backward pass; with overlap a bucket starts when its gradients are finished, which is
taken to happen evenly by bytes over the backward pass, and only what is left at its end is waited for. The pass itself
is taken to be no slower meanwhile, which is kind to overlap: NCCL takes some multiprocessors and memory bandwidth.
SyncBN's sums (forward and backward of each norm) go through the host and are waited for each.

Sources of the defaults: a_nvlink 3.4 us, a_network 14 us, base 8.4 us: NCCL's own tuning table for the ring and its
"simple" protocol (src/graph/tuning.cc). NVLink: 450 GB/s each way per GPU (NVIDIA's H100 data sheet: 900 GB/s both
ways). Network: 400 GB/s, eight adapters of 400 Gb/s, as in NVIDIA's DGX H100; and 12.5 GB/s, one of 100 Gb/s. Steps:
Detectron2's tables, measured by its authors with all communication of theirs: Cascade Mask R-CNN R50-FPN 0.328 s for two
pictures per V100 (MODEL_ZOO.md), ViTDet-B 0.314 s a picture (projects/ViTDet/README.md; Mask R-CNN, one stage in place
of three, GPU not named there); and a third of these, for a GPU three times as fast.
"""
import argparse

MIB = 1024 * 1024
BASE, A_NVLINK, A_NETWORK = 8.4e-6, 3.4e-6, 14e-6
MODELS = {
    # name: (MiB of the buckets in the order in which they start, norms over all ranks, seconds a step)
    "Cascade Mask R-CNN, R50-FPN": ([2.25, 60.76, 53.03, 53.03, 28.07, 29.04, 26.81, 20.81], 61, 0.328),
    "the same on ViTDet-B": ([2.25, 56.76, 58.04, 58.04, 29.13, 25.90] + [27.05] * 11 + [9.60], 0, 0.314),
}


def ring(bytes_, gpus, network, args):
    """Seconds for one all-reduce."""
    nodes = (gpus + args.node - 1) // args.node
    steps, between = 2 * (gpus - 1), 2 * (nodes - 1)
    link = min(args.nvlink, network if nodes > 1 else args.nvlink) * 1e9 * args.efficiency
    return BASE + (steps - between) * A_NVLINK + between * A_NETWORK + 2 * (gpus - 1) / gpus * bytes_ / link


def waits(buckets, gpus, network, step, args):
    """Seconds of a step spent waiting for gradients: without overlap, with it."""
    backward = args.backward * step
    done, ready = 0.0, 0
    for bytes_ in buckets:
        ready += bytes_
        done = max(done, backward * ready / sum(buckets)) + ring(bytes_, gpus, network, args)
    return sum(ring(b, gpus, network, args) for b in buckets), done - backward


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--node", type=int, default=8, help="GPUs of one machine")
    parser.add_argument("--nvlink", type=float, default=450, help="GB/s each way within a machine")
    parser.add_argument("--network", type=float, nargs="+", default=[400, 12.5], help="GB/s each way out of a machine")
    parser.add_argument("--efficiency", type=float, default=0.8, help="of the links' bandwidth")
    parser.add_argument("--step", type=float, help="seconds of a step on one GPU")
    parser.add_argument("--backward", type=float, default=0.67, help="its share of backward")
    parser.add_argument("--host-sum", type=float, default=60, help="microseconds of a norm's sum through the host")
    args = parser.parse_args()
    print("| model | gradients | GPUs | network | step on one | waits, after backward | waits, overlapped | "
          "norms' sums | efficiency |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (mib, norms, published) in MODELS.items():
        buckets = [b * MIB for b in mib]
        sums = 2 * norms * args.host_sum * 1e-6
        for step in [args.step] if args.step else [published, published / 3]:
            for gpus in args.gpus:
                for network in args.network if gpus > args.node else [None]:
                    after, overlapped = waits(buckets, gpus, network, step, args)
                    out = f"{network:g} GB/s" if network else "none"
                    print(f"| {name} | {sum(mib):.0f} MiB in {len(mib)} | {gpus} | {out} | {step * 1e3:.0f} ms | "
                          f"{after * 1e3:.1f} ms | {overlapped * 1e3:.1f} ms | {sums * 1e3:.1f} ms | "
                          f"{100 * step / (step + overlapped + sums):.0f} % |")


if __name__ == "__main__":
    main()
