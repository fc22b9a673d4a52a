"""Parts "cases" and "sanitizer": the test program in several processes, so that a kernel that ends one takes little along."""
import concurrent.futures
import os
import re
import shutil
import tempfile

OP_CASES = "Op.*/cuda"
ALL_TESTS = "*/cuda:Cuda*"
LEAST_ALONE = 60  # seconds for one test by itself


def processes():
    return max(1, min(8, (os.cpu_count() or 1) // 2))


def tests_of(run, gtest_filter):
    _, output = run.call(run.programs.tests + ["--gtest_list_tests", f"--gtest_filter={gtest_filter}"])
    names, suite = [], ""
    for line in output.splitlines():
        if line.startswith("  "):
            names.append(suite + line.split("#")[0].strip())
        elif re.match(r"^\S+\.\s*(#.*)?$", line):
            suite = line.split()[0]
    return names


def verdicts(output):
    """{test: {"status", "ms"}} of a test program's output; a test that began and never ended was "lost"."""
    found = {}
    for line in output.splitlines():
        begun = re.match(r"^\[ RUN      \] (\S+)$", line)
        if begun:
            found[begun[1]] = {"status": "lost", "ms": 0}
        ended = re.match(r"^\[ +(OK|FAILED|SKIPPED) +\] (\S+?),?(?: where .*)? \((\d+) ms\)$", line)
        if ended:
            status = {"OK": "passed", "FAILED": "failed", "SKIPPED": "skipped"}[ended[1]]
            found[ended[2]] = {"status": status, "ms": int(ended[3])}
    return found


def kernels_of(path):
    """{test: [kernel, ...]}, as tests/support/kernel_report.h writes it."""
    found = {}
    if os.path.exists(path):
        with open(path) as file:
            for line in file:
                name, _, kernels = line.rstrip("\n").split("\t")
                found[name] = kernels.split()
    return found


def sharded(run, gtest_filter, front=()):
    """Runs the tests in several processes at once; [(exit status, output)] and the kernels they called."""
    folder = tempfile.mkdtemp()
    count = processes()

    def shard(index):
        extra = {"GTEST_TOTAL_SHARDS": str(count), "GTEST_SHARD_INDEX": str(index),
                 "USOL_KERNEL_REPORT": os.path.join(folder, str(index))}
        return run.call([*front, *run.programs.tests, f"--gtest_filter={gtest_filter}"], extra=extra)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        outcomes = list(pool.map(shard, range(count)))
    kernels = {}
    for index in range(count):
        kernels.update(kernels_of(os.path.join(folder, str(index))))
    shutil.rmtree(folder)
    return outcomes, kernels


def alone(run, name):
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "kernels")
        status, output = run.call(run.programs.tests + [f"--gtest_filter={name}"], LEAST_ALONE,
                                  {"USOL_KERNEL_REPORT": report})
        verdict = verdicts(output).get(name, {"status": "lost", "ms": 0})
        if verdict["status"] == "lost":
            verdict["status"] = "not run" if status == 124 and run.left() <= 0 else "failed"
        verdict["kernels"] = kernels_of(report).get(name, [])
        if verdict["status"] == "failed":
            verdict["text"] = f"exit status {status}\n{output[-2000:]}"
        return verdict


def cases(run, only):
    """All tests of a CUDA device; op cases first."""
    gtest_filter = only or ALL_TESTS
    wanted = tests_of(run, gtest_filter)
    if not wanted:
        return "failed", "the test program lists no tests; see log.txt"
    found = run.results["tests"] = {}
    rounds = [only] if only else [OP_CASES, f"{ALL_TESTS}-{OP_CASES}"]
    for one in rounds:
        outcomes, kernels = sharded(run, one)
        for _, output in outcomes:
            found.update(verdicts(output))
        for name, called in kernels.items():
            if name in found:
                found[name]["kernels"] = called
        run.save()
        # After a fault a process can do nothing more on the device: what failed is judged by a run of its own.
        again = [name for name in wanted if found.get(name, {"status": "lost"})["status"] in ("failed", "lost")]
        again = [name for name in again if name.startswith("Op.") == (one == OP_CASES) or only]
        if again:
            run.say(f"{len(again)} tests failed or did not end; each once more alone")
        with concurrent.futures.ThreadPoolExecutor(processes()) as pool:
            for name, verdict in zip(again, pool.map(lambda n: alone(run, n), again)):
                found[name] = verdict
        run.save()
    count = {status: [n for n in wanted if found.get(n, {"status": "not run"})["status"] == status]
             for status in ("passed", "skipped", "failed", "not run")}
    text = ", ".join(f"{len(names)} {status}" for status, names in count.items() if names) + f" of {len(wanted)}"
    if count["failed"]:
        return "failed", text + ": " + " ".join(count["failed"][:20])
    return ("out of time" if count["not run"] else "passed"), text


# By when each tool must have ended, as a share of the part's time: memcheck matters most.
TOOLS = {"memcheck": 0.4, "racecheck": 0.7, "initcheck": 0.85, "synccheck": 1.0}
REFUSED = re.compile(r"^=+.*(device not supported|failed to initialize|unable to|not supported on this).*$", re.I | re.M)
FOUND = 86  # what compute-sanitizer is told to exit with where it found something


def sanitizer_verdict(outcomes):
    """Of [(exit status, output)] of all processes under one tool."""
    output = "\n".join(text for _, text in outcomes)
    row = {"cases": sum(v["status"] == "passed" for v in verdicts(output).values()),
           "errors": sum(int(n) for n in re.findall(r"ERROR SUMMARY: (\d+) error", output))}
    if REFUSED.search(output):
        row["status"], row["text"] = "not run", REFUSED.search(output)[0]
    elif row["errors"] or any(status == FOUND for status, _ in outcomes):
        first = output.find("=========")
        row["status"], row["text"] = "failed", output[first:first + 3000]
    elif any(status == 124 for status, _ in outcomes):
        row["status"] = "out of time"
    else:
        row["status"] = "passed" if all(status == 0 for status, _ in outcomes) else "failed"
    return row


def sanitizer(run, only):
    if run.programs.emulated:
        return "not run", "compute-sanitizer needs a GPU; the emulation looks for conflicts by itself"
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not os.path.exists(program):
        return "not run", "compute-sanitizer is not installed"
    found = run.results["sanitizer"] = {}
    whole, end = run.left(), run.part_deadline
    for tool, share in TOOLS.items():
        run.part_deadline = end - (1 - share) * whole
        front = (program, "--tool", tool, "--error-exitcode", str(FOUND))
        row = found[tool] = sanitizer_verdict(sharded(run, only or OP_CASES, front)[0])
        run.say(f"{tool}: {row['status']}, {row['cases']} cases, {row['errors']} errors")
        run.save()
    statuses = [row["status"] for row in found.values()]
    status = next((s for s in ("failed", "out of time", "not run") if s in statuses), "passed")
    return status, ", ".join(f"{tool} {row['status']}" for tool, row in found.items())
