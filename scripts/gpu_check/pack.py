"""What travels: programs, the libraries that only this machine has, and all files that a run reads."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from gpu_check import pipelines

NAME = "usol-gpu-check"
MOST_BYTES = 48 << 20  # so that it fits into 64 MiB together with this source tree
PROGRAMS = {False: ("usol-cuda", "tests/usol_tests_cuda", "usol_bench_cuda"),
            True: ("tests/usol-emulated", "tests/usol_tests_emulated", "usol_bench_emulated")}
TARGETS = {False: ("usol-cuda", "usol_tests_cuda", "usol_bench_cuda"),
           True: ("usol_emulated", "usol_tests_emulated", "usol_bench_emulated")}
PRESETS = {False: ("gpu-check", "build-gpu-check"), True: ("cuda", "build-test")}
FILES = ("scripts/gpu-check", "scripts/gpu-status.py", "scripts/gpu_check", "bench/roof.py", "bench/random_vit.py",
         "bench/compare_ops_gpu.py", "bench/maskcut_gpu.py", "tests/golden", "tests/pictures", "docs/gpu-status.md",
         "docs/performance.md")
# The C library and the compiler's run time are every system's own; packed beside for one whose are too old.
SYSTEM = re.compile(r"lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so\.")
# CUDA's are there, from the toolkit or from PyTorch.
CUDA = re.compile(r"lib(cuda|cublas|cudnn|cusolver|cusparse|nccl|nv)")


def build(emulated):
    preset, folder = PRESETS[emulated]
    subprocess.run(["cmake", "--preset", preset], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", "--preset", preset, "--target", *TARGETS[emulated]], check=True, stdout=sys.stderr)
    return folder


def libraries_of(programs):
    """Paths of the shared libraries that the loader finds for them."""
    output = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(r"=> (/\S+)", output)) | set(re.findall(r"^\s+(/\S*ld-linux\S+)", output, re.M)))


def lay_out(root, folder, emulated):
    """The package as a folder."""
    for name in ("bin", "lib", "loader", "models"):
        os.makedirs(os.path.join(root, name))
    programs = [os.path.join(folder, name) for name in PROGRAMS[emulated]]
    for program in programs:
        copy = os.path.join(root, "bin", os.path.basename(program))
        subprocess.run(["strip", "-o", copy, program], check=True)
    for path in libraries_of(programs):
        name = os.path.basename(path)
        if not CUDA.match(name):
            shutil.copy(path, os.path.join(root, "loader" if SYSTEM.match(name) or "ld-linux" in name else "lib", name))
    for path in FILES:
        target = os.path.join(root, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.isdir(path):
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("*.py", "__pycache__") if path.startswith("tests/")
                            else shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, target)
    make_models(root, programs[0])
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    with open(os.path.join(root, "revision"), "w") as file:
        file.write((revision or "unknown") + "\n")


def make_models(root, usol):
    """Masks to train on, and a small detector trained a little on them; both on the CPU."""
    masks, pictures = os.path.join(root, "models/masks.json"), os.path.join(root, "tests/pictures")
    subprocess.run([usol, "maskcut", pictures, "--backbone", "colour", "--out", masks, "--device", "cpu", "-q"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = os.path.join(folder, "small.toml")
        with open(settings, "w") as file:
            file.write(pipelines.SMALL_TRAINING)
        subprocess.run([usol, "train", "--config", settings, "--annotations", masks, "--image-root", pictures, "--device", "cpu", "--out",
                        os.path.join(folder, "out"), "-q"], check=True)
        shutil.copy(os.path.join(folder, "out/model_final.safetensors"), os.path.join(root, "models/detector.safetensors"))


def pack(emulated=False):
    """Builds and packs; the archive's path."""
    folder = build(emulated)
    archive = os.path.join(folder, NAME + ".tar.xz")
    with tempfile.TemporaryDirectory() as parent:
        lay_out(os.path.join(parent, NAME), folder, emulated)
        subprocess.run(["tar", "-C", parent, "-I", "xz -T0 -6", "-cf", os.path.abspath(archive), NAME], check=True)
    size = os.path.getsize(archive)
    print(f"gpu-check: {archive}, {size / 2**20:.1f} MiB", file=sys.stderr)
    if size > MOST_BYTES:
        sys.exit(f"gpu-check: the package is larger than {MOST_BYTES >> 20} MiB")
    return archive
