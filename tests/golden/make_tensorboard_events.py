"""An event file made by TensorBoard's own classes: records of figures and a picture, with fixed times.

Usage: make_tensorboard_events.py [OUTPUT.bin]. Needs tensorboard.
"""

import sys
from importlib.metadata import version
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else str(Path(__file__).parent / "tensorboard_events.bin")
    image = Summary.Image(height=300, width=5, colorspace=3, encoded_image_string=b"not a picture")
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for event in (
                Event(wall_time=1700000000.0, step=0, file_version="brain.Event:2"),
                Event(wall_time=1700000000.25, step=19, summary=Summary(value=[
                    Summary.Value(tag="lr", simple_value=-0.25), Summary.Value(tag="total_loss", simple_value=1.5)])),
                Event(wall_time=1700000001.0, step=1 << 40, summary=Summary(value=[
                    Summary.Value(tag="a", simple_value=3)])),
                Event(wall_time=1700000002.0, step=20, summary=Summary(value=[
                    Summary.Value(tag="batch", image=image)])),
        ):
            writer.write(event.SerializeToString(deterministic=True))
        writer.flush()
    print(path, "tensorboard", version("tensorboard"))


if __name__ == "__main__":
    main()
