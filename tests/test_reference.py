"""VTM, HM and JM: fakes stand in for them where only our side matters, real ones where present."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from cirbench import codecs, color
from cirbench.codecs import reference
from cirbench.codecs.reference_tools import SOFTWARE, locate
from cirbench.errors import CirbenchError, CodecError, UnavailableError

CODEC = {"vtm": "vvc", "hm": "hevc", "jm": "avc"}
BANNER = {
    "vtm": ("VVCSoftware: VTM Encoder Version 23.13 [Linux][GCC 12.2.0]", "VTM 23.13"),
    "hm": ("HM software: Encoder Version [16.8] (including RExt)[Linux]", "HM 16.8"),
    "jm": ("JM-19.0", "JM 19.0"),
}
CONFIG = {
    "vtm": "cfg/encoder_intra_vtm.cfg",
    "hm": "cfg/encoder_intra_main.cfg",
    "jm": "bin/HM-like/encoder_JM_Intra_HE.cfg",
}
ALL = pytest.mark.parametrize("name", list(CODEC))


def photo(height: int, width: int) -> codecs.RGB:
    return np.ascontiguousarray(skimage.data.astronaut()[60 : 60 + height, 180 : 180 + width])


def settings(name: str, **wanted: object) -> dict[str, object]:
    return codecs.get(CODEC[name]).settings(encoder=name, **wanted)


def script(file: Path, body: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)
    return file


def fake(root: Path, name: str, body: str = "") -> Path:
    """A source tree whose encoder prints the banner when asked, else runs ``body``."""
    plain = SOFTWARE[name].encoders[0]
    banner = f'case "$#" in 0|1) echo "{BANNER[name][0]}"; exit 1;; esac'
    script(root / "bin/umake/gcc-12/x86_64/release" / plain, f"{banner}\n{body}")
    config = root / CONFIG[name]
    config.parent.mkdir(parents=True, exist_ok=True)
    config.touch()
    return root


@pytest.fixture(autouse=True)
def nothing_installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No reference software but what a test sets up, unless it is a test of the real one."""
    if "real-" in request.node.name:
        return
    for software in SOFTWARE.values():
        monkeypatch.delenv(software.variable, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


@ALL
def test_missing_software_is_unavailable_and_the_hint_names_the_variable(name: str) -> None:
    found = reference.probe(settings(name))
    assert not found.available
    assert SOFTWARE[name].variable in found.hint
    with pytest.raises(UnavailableError, match=SOFTWARE[name].variable):
        reference.encode(photo(16, 16), 37, settings(name))


@ALL
def test_a_tree_is_found_by_its_variable_and_gives_the_binarys_own_version(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SOFTWARE[name].variable, str(fake(tmp_path, name)))
    found = reference.probe(settings(name))
    assert (found.available, found.version, found.hint) == (True, BANNER[name][1], "")


def test_a_link_on_path_leads_to_the_trees_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = fake(tmp_path / "tree", "vtm")
    (tmp_path / "path").mkdir()
    (binary,) = tree.glob("bin/umake/*/*/*/EncoderApp")
    (tmp_path / "path/EncoderApp").symlink_to(binary)
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin")
    assert reference.probe(settings("vtm")).available


def test_a_binary_on_path_without_its_config_says_which_file_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "TAppEncoderStatic", f'echo "{BANNER["hm"][0]}"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    found = reference.probe(settings("hm"))
    assert not found.available
    assert "encoder_intra_main.cfg" in found.hint
    assert "CIRBENCH_HM" in found.hint


@pytest.mark.parametrize(
    ("chroma", "bit_depth", "config"),
    [
        ("420", 8, "encoder_intra_main.cfg"),
        ("420", 10, "encoder_intra_main10.cfg"),
        ("444", 8, "encoder_intra_main_rext.cfg"),
    ],
)
def test_hm_takes_the_config_of_the_format(
    chroma: str, bit_depth: int, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIRBENCH_HM", str(fake(tmp_path, "hm")))
    for other in (tmp_path / "cfg").iterdir():
        other.unlink()
    wanted = settings("hm", chroma=chroma, bit_depth=bit_depth)
    assert config in reference.probe(wanted).hint
    (tmp_path / "cfg" / config).touch()
    assert reference.probe(wanted).available


@pytest.mark.parametrize("body", ["echo hello", "exit 0"])
def test_a_binary_that_is_something_else_is_not_taken(
    body: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(fake(tmp_path, "jm") / "bin/lencod", body)
    monkeypatch.setenv("CIRBENCH_JM", str(tmp_path))
    assert "does not say it is JM" in reference.probe(settings("jm")).hint


def test_a_tree_that_was_not_built_is_not_replaced_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "path/EncoderApp", f'echo "{BANNER["vtm"][0]}"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin")
    monkeypatch.setenv("CIRBENCH_VTM", str(tmp_path / "nowhere"))
    hint = reference.probe(settings("vtm")).hint
    assert "CIRBENCH_VTM" in hint
    assert "nowhere" in hint


def test_8_bit_vvc_needs_vtms_own_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRBENCH_VTM", str(fake(tmp_path, "vtm")))
    eight = settings("vtm", chroma="444", bit_depth=8)
    assert reference.probe(settings("vtm")).available
    assert "DecoderApp" in reference.probe(eight).hint
    # CompressAI's 8-bit samples are coded at 10 bits, which PyAV decodes.
    assert reference.probe({**eight, "conversion": "compressai-compat"}).available


def test_the_version_is_asked_once_per_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(tmp_path, "vtm")
    log = tmp_path / "log"
    binary = script(tmp_path / "bin/EncoderApp", f'echo run >> "{log}"; echo "{BANNER["vtm"][0]}"')
    monkeypatch.setenv("CIRBENCH_VTM", str(tmp_path))
    assert locate("vtm") is locate("vtm")
    assert locate("vtm").encoder == binary  # the least deep of two
    assert log.read_text() == "run\n"


@ALL
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo 'Error: no such thing' >&2; echo bye; exit 3", "failed: Error: no such thing"),
        ("echo starting; echo '--------'; exit 1", "failed: starting"),
        ("exit 9", "exit status 9"),
        ("kill -SEGV $$", "signal 11"),
        ("exit 0", r"wrote no out\.bin"),
        ("echo x > out.bin; echo y > rec.yuv", "bytes for a picture of 48x16"),
    ],
)
def test_a_failing_encoder_is_a_codec_error_with_its_reason(
    name: str, body: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SOFTWARE[name].variable, str(fake(tmp_path, name, body)))
    with pytest.raises(CodecError, match=message):
        reference.encode(photo(16, 48), 37, settings(name))


@ALL
@pytest.mark.parametrize("chroma", ["420", "444"])
@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("size", [(48, 64), (29, 37), (1, 1)])
def test_a_lossless_encoder_gives_back_the_colour_conversion(
    name: str,
    chroma: str,
    bit_depth: int,
    size: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = "cp in.yuv rec.yuv; echo coded > out.bin"
    tree = fake(tmp_path, name, body)
    for config in ("main10", "main_rext"):
        (tree / f"cfg/encoder_intra_{config}.cfg").parent.mkdir(exist_ok=True)
        (tree / f"cfg/encoder_intra_{config}.cfg").touch()
    monkeypatch.setenv(SOFTWARE[name].variable, str(tree))
    rgb = photo(*size)
    coded = reference.encode(rgb, 41, settings(name, chroma=chroma, bit_depth=bit_depth))
    planes = color.rgb_to_planes(color.pad(rgb, 1), chroma, bit_depth)
    expected = color.planes_to_rgb(planes, bit_depth)[: size[0], : size[1]]
    assert np.array_equal(coded.reconstruction, expected)
    assert coded.bitstream == b"coded\n"
    assert "QPISlice=41" in coded.args or "-q 41" in coded.args
    assert "/" not in coded.args
    assert "yuv" not in coded.args


def test_compat_is_refused_outside_8_bit_444() -> None:
    with pytest.raises(CirbenchError, match="compressai-compat"):
        reference.encode(photo(16, 16), 37, settings("vtm", conversion="compressai-compat"))


def test_a_bitstream_of_another_size_or_depth_is_a_codec_error() -> None:
    hevc = codecs.get("hevc")
    rgb = photo(32, 48)
    bitstream = hevc.encode(rgb, 30, hevc.settings(encoder="x265")).bitstream
    eight = settings("hm")
    same = hevc.decode(bitstream, (32, 48), hevc.settings(encoder="x265"))
    assert np.array_equal(reference.decode(bitstream, (32, 48), eight), same)
    with pytest.raises(CodecError, match="is 48x32 yuvj420p, not 48x34 of chroma 420"):
        reference.decode(bitstream, (33, 48), eight)
    with pytest.raises(CodecError, match="of 8 bits, not 48x32 of 10"):
        reference.decode(bitstream, (32, 48), settings("hm", bit_depth=10))


def real(name: str) -> pytest.MarkDecorator:
    software = SOFTWARE[name]
    return pytest.mark.skipif(
        not reference.probe(settings(name)).available,
        reason=f"{software.title} not found: set {software.variable}",
    )


def case(name: str, chroma: str, bit_depth: int, conversion: str) -> object:
    label = f"real-{name}-{chroma}-{bit_depth}-{conversion}"
    return pytest.param(name, chroma, bit_depth, conversion, marks=real(name), id=label)


COMPAT = [case(name, "444", 8, "compressai-compat") for name in ("vtm", "hm")]
REAL = [
    case("vtm", "420", 10, "rounding"),
    case("vtm", "444", 8, "rounding"),
    *COMPAT,
    case("hm", "420", 8, "rounding"),
    case("hm", "420", 10, "rounding"),
    case("hm", "444", 8, "rounding"),
    case("jm", "420", 8, "rounding"),
    case("jm", "420", 10, "rounding"),
    case("jm", "444", 8, "compressai-compat"),
]


@pytest.mark.parametrize("size", [(48, 64), (29, 37)])
@pytest.mark.parametrize(("name", "chroma", "bit_depth", "conversion"), REAL)
def test_decoding_gives_the_encoders_reconstruction_at_the_asked_slice_qp(
    name: str, chroma: str, bit_depth: int, conversion: str, size: tuple[int, int]
) -> None:
    from cirbench.codecs.bitstream import slice_qp

    wanted = settings(name, chroma=chroma, bit_depth=bit_depth, conversion=conversion)
    rgb = photo(*size)
    for qp in (27, 37):
        coded = reference.encode(rgb, qp, wanted)
        decoded = reference.decode(coded.bitstream, size, wanted)
        assert decoded.shape == rgb.shape
        assert np.array_equal(decoded, coded.reconstruction)
        assert slice_qp(CODEC[name], coded.bitstream) == qp
        # Far from the 10 dB of a wrong plane order, range or matrix.
        assert np.mean((decoded.astype(float) - rgb) ** 2) < 255**2 / 10**2.5


@pytest.mark.parametrize(("name", "chroma", "bit_depth", "conversion"), COMPAT)
def test_compat_equals_the_reference_decoder_asked_for_8_bits(
    name: str, chroma: str, bit_depth: int, conversion: str, tmp_path: Path
) -> None:
    installed = locate(name)
    if installed.decoder is None:
        pytest.skip(f"no {SOFTWARE[name].decoders[0]} beside {installed.encoder}")
    wanted = settings(name, chroma=chroma, bit_depth=bit_depth, conversion=conversion)
    coded = reference.encode(photo(29, 37), 27, wanted)
    (tmp_path / "in.bin").write_bytes(coded.bitstream)
    command = [str(installed.decoder), "-b", "in.bin", "-o", "out.yuv", "-d", "8"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    y, cb, cr = np.fromfile(tmp_path / "out.yuv", np.uint8).reshape(3, 29, 37)
    assert np.array_equal(coded.reconstruction, color.planes_to_rgb((y, cb, cr), 8, conversion))


@pytest.mark.parametrize("name", [pytest.param(n, marks=real(n), id=f"real-{n}") for n in CODEC])
def test_padding_up_to_coding_blocks_repeats_the_edge(name: str) -> None:
    wanted = settings(name)
    rgb = photo(18, 26)
    padded = color.pad(rgb, 16, 16 if name == "jm" else 8)
    whole = reference.encode(padded, 32, wanted).reconstruction
    assert whole is not None
    assert np.array_equal(whole[:18, :26], reference.encode(rgb, 32, wanted).reconstruction)
