"""The packed programs, and how they start on a machine that has none of our packages."""
import glob
import os
import site
import sys

DRIVER_FOLDERS = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib")


def cuda_library_folders():
    """The toolkit's libraries, and those of Python packages: PyTorch brings its own."""
    folders = ["/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib"]
    for root in dict.fromkeys(site.getsitepackages() + sys.path):
        folders += sorted(glob.glob(os.path.join(root, "nvidia/*/lib")))
    return [folder for folder in folders if os.path.isdir(folder)]


class Programs:
    """`root` is the unpacked package: bin/, lib/ (libraries of the build machine's packages), loader/ (its C library)."""

    def __init__(self, root):
        self.root = root
        self.emulated = os.path.exists(os.path.join(root, "bin/usol-emulated"))
        self.loader = False  # start programs by the packed C library, where the system's is too old for them
        with open(os.path.join(root, "revision")) as file:
            self.revision = file.read().strip()

    def _path(self, name):
        return os.path.join(self.root, "bin", name)

    def has(self, name):
        return os.path.exists(self._path(name))

    @property
    def usol(self):
        return self._start("usol-emulated" if self.emulated else "usol-cuda")

    @property
    def tests(self):
        return self._start("usol_tests_emulated" if self.emulated else "usol_tests_cuda")

    @property
    def bench(self):
        return self._start("usol_bench_emulated" if self.emulated else "usol_bench_cuda")

    def _start(self, name):
        if not self.loader:
            return [self._path(name)]
        folders = os.pathsep.join([os.path.join(self.root, "loader"), self._libraries()])
        return [os.path.join(self.root, "loader/ld-linux-x86-64.so.2"), "--library-path", folders, self._path(name)]

    def _libraries(self):
        before = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
        drivers = [folder for folder in DRIVER_FOLDERS if os.path.isdir(folder)]
        return os.pathsep.join([os.path.join(self.root, "lib")] + before + drivers + cuda_library_folders())

    def environment(self):
        """Of one of our programs. Threads that wait do not spin, since several programs share the cores."""
        return {**os.environ, "LD_LIBRARY_PATH": self._libraries(), "USOL_SOURCE_DIR": self.root,
                "OMP_WAIT_POLICY": "passive"}
