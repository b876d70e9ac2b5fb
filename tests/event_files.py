"""Reading TensorBoard's event files, checksums included."""

import struct

from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c


def read_events(folder):
    """The events of all files of a folder, oldest file first."""
    return [event for path in sorted(folder.iterdir()) for event in _records(path.read_bytes())]


def scalars(folder):
    """Numbers of TensorBoard by (step, name)."""
    return {
        (event.step, value.tag): value.simple_value
        for event in read_events(folder)
        for value in event.summary.value
        if value.HasField("simple_value")
    }


def images(folder):
    """Encoded images of TensorBoard by (step, name), each with its width and height."""
    return {
        (event.step, value.tag): (
            value.image.encoded_image_string,
            value.image.width,
            value.image.height,
        )
        for event in read_events(folder)
        for value in event.summary.value
        if value.HasField("image")
    }


def _records(data):
    while data:
        length, check = data[:8], data[8:12]
        size = struct.unpack("<Q", length)[0]
        body, last = data[12 : 12 + size], data[12 + size : 16 + size]
        assert check == struct.pack("<I", masked_crc32c(length))
        assert len(body) == size and last == struct.pack("<I", masked_crc32c(body))
        yield event_pb2.Event.FromString(body)
        data = data[16 + size :]
