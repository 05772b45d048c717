"""The fuzzing kit of fdring for Python: control buffers for a parser of one's own, and what it has to find in them.

    import fdring_fuzz
    kit = fdring_fuzz.Kit("libfdring_fuzz.so")
    control = kit.generate(os.urandom(64))
    assert my_parser(control) == [found for found in kit.expect(control) if found.outcome == fdring_fuzz.MESSAGE]

`build.sh` beside this directory builds the library. Run as a program, with the library's path as its argument, it checks
a walker of ten lines against the oracle.
"""

import ctypes
import random
import struct
import sys
from typing import NamedTuple

MESSAGE, CUT_HEADER, BELOW_HEADER, PAST_END, BODY = range(5)


class Found(NamedTuple):
    """A message that a right walker finds, or the fault that ends the walk. See fdring_fuzz.h."""

    offset: int
    len: int
    body_len: int
    level: int
    type: int
    outcome: int


class _Found(ctypes.Structure):
    _fields_ = [(name, kind) for name, kind in zip(
        ["offset", "len", "body_len", "level", "type", "outcome", "reserved"],
        [ctypes.c_uint64] * 3 + [ctypes.c_int32] * 2 + [ctypes.c_uint32] * 2)]


class Kit:
    def __init__(self, path):
        library = ctypes.CDLL(path)
        self._generate, self._expect = library.fdring_cmsg_generate, library.fdring_cmsg_expect
        self._generate.restype = self._expect.restype = ctypes.c_size_t
        self._generate.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t]
        self._expect.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(_Found), ctypes.c_size_t]

    def generate(self, data):
        """The control buffer that these bytes stand for."""
        control = ctypes.create_string_buffer(32768)
        used = self._generate(data, len(data), control, len(control))
        return control.raw[:used]

    def expect(self, control):
        """What a right walker finds in it, as a list of Found."""
        found = (_Found * (len(control) // 8 + 1))()
        count = self._expect(control, len(control), found, len(found))
        return [Found(f.offset, f.len, f.body_len, f.level, f.type, f.outcome) for f in found[:count]]


def walk(control):
    """A walker in plain Python: (offset, cmsg_len, level, type) of each whole message."""
    offset, messages = 0, []
    while len(control) - offset >= 16:
        length, level, kind = struct.unpack_from("=Qii", control, offset)
        if length < 16 or length > len(control) - offset:
            break
        messages.append((offset, length, level, kind))
        offset += (length + 7) // 8 * 8
    return messages


def main():
    kit, dice, outcomes = Kit(sys.argv[1]), random.Random(1), set()
    for _ in range(20_000):
        control = kit.generate(dice.randbytes(dice.randrange(64)))
        found = kit.expect(control)
        outcomes.update(one.outcome for one in found)
        expected = [one[:2] + one[3:5] for one in found if one.outcome in (MESSAGE, BODY)]
        assert walk(control) == expected, control.hex()
    assert outcomes == {MESSAGE, CUT_HEADER, BELOW_HEADER, PAST_END, BODY}, outcomes
    print("20000 control buffers, walked as expected")


if __name__ == "__main__":
    main()
