"""One run: its time, its log, and results.json, which is written anew after every part."""
import json
import os
import signal
import subprocess
import sys
import threading
import time


class Run:
    def __init__(self, programs, out, minutes):
        os.makedirs(out, exist_ok=True)
        self.programs, self.out = programs, out
        self.began = time.monotonic()
        self.deadline = self.began + 60 * minutes
        self.part_deadline = self.deadline
        self.results = {"format": 1, "revision": programs.revision, "emulated": programs.emulated, "gpu": "", "parts": []}
        self.lock = threading.Lock()
        self.log = open(os.path.join(out, "log.txt"), "w")

    def left(self):
        """Seconds of this part."""
        return self.part_deadline - time.monotonic()

    def say(self, text):
        with self.lock:
            print(f"{time.monotonic() - self.began:6.1f}s  {text}", file=sys.stderr, flush=True)
            self.log.write(f"== {text}\n")
            self.log.flush()

    def call(self, command, seconds=None, extra=None, ours=True):
        """(exit status, output). 124: out of time; it is killed with its children then."""
        seconds = min(seconds or self.left(), self.left())
        if seconds <= 0:
            return 124, ""
        environment = {**(self.programs.environment() if ours else os.environ), **(extra or {})}
        try:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                       env=environment, start_new_session=True)
        except OSError as error:
            return 127, str(error)
        timer = threading.Timer(seconds, lambda: os.killpg(process.pid, signal.SIGKILL))
        began = time.monotonic()
        timer.start()
        try:
            output = process.communicate()[0].decode(errors="replace")
        finally:
            timer.cancel()
        status = 124 if process.returncode == -signal.SIGKILL and time.monotonic() - began >= seconds else process.returncode
        with self.lock:
            self.log.write(f"-- {' '.join(command)}\n{output}\n-- exit status {status}\n")
            self.log.flush()
        return status, output

    def note(self, part, status, seconds, text):
        """The verdict on a part: "passed", "failed", "not run" or "out of time"."""
        self.results["parts"].append({"name": part.name, "status": status, "seconds": round(seconds, 1),
                                      "estimate_s": part.estimate, "text": text})
        self.say(f"{part.name}: {status} in {seconds:.0f} s (estimate {part.estimate} s): {text}")
        self.save()

    def save(self):
        path = os.path.join(self.out, "results.json")
        with open(path + ".part", "w") as file:
            json.dump(self.results, file, indent=1)
        os.replace(path + ".part", path)

    def failed(self):
        return any(part["status"] == "failed" for part in self.results["parts"])
