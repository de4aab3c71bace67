"""Outputs to be scored, and the tables that name them: pixels, or one sentence."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hostile import sentence

from cirbench.errors import InputError
from cirbench.evaluation import outputs
from cirbench.evaluation.match import match


def npy(shape: object, kind: str = "|u1", data: bytes = b"") -> bytes:
    head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}}}"
    head = head.ljust(117) + "\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head.encode() + data


def zipped() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros((2, 2, 3), np.uint8))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        npy((10**6, 10**6, 3), "<f8"),
        npy((10**12, 10**12, 3)),
        npy((-1, 4, 3), data=bytes(48)),
        npy((4, 4, 3), "|O", bytes(400)),
        npy((4, 4, 3), "<U4", bytes(4000)),
        npy((4, 4, 3), "V9", bytes(4000)),
        npy("x"),
        npy((4, 4, 3), "nonsense"),
        b"\x93NUMPY\x01\0\xff\xff{",
        zipped(),
        b"",
    ],
)
def test_arrays_that_lie_are_refused_unread(content, tmp_path) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"^x\.npy "):
        outputs.read(tmp_path / "x.npy")


ROW = {
    "row_id": "r",
    "content_id": "c",
    "set": "s",
    "task": "jpeg-qf5",
    "codec": "jpeg",
    "level": "qf5",
    "level_value": 5,
    "kind": "seen",
    "hq_path": "a.png",
    "bitstream_path": "bitstreams/jpeg/qf5/s/a.jpg",
}


@pytest.mark.parametrize(
    "text",
    [
        *("", "\0", "row_id,path\n", "row_id,path\nr", 'row_id,path\n"r,a.png', "row_id\nr\n"),
        "row_id,path\nr,a.png,more,and,more\nr\n",
        "row_id,path\nr," + "x" * 200_000,
        "row_id,path\nr," + "x" * 5000,
        "row_id,path\nr,a\0b.png\n",
        "row_id,path\nr,../a.png\n",
        "row_id,path\nr,/etc/passwd\n",
    ],
)
def test_a_csv_of_another_form_is_one_sentence(text, tmp_path) -> None:
    (tmp_path / "x.csv").write_text(text)
    assert sentence(lambda: match(tmp_path, [ROW], table=tmp_path / "x.csv"))


@pytest.mark.parametrize("pattern", ["{name:d}", "{name!z}", "{name:{x}}", "{name.upper}"])
def test_patterns_that_format_nothing_are_one_sentence(pattern, tmp_path) -> None:
    (tmp_path / "a.png").touch()
    assert "pattern" in sentence(lambda: match(tmp_path, [ROW], pattern))
