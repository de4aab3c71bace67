"""What stats and show draw is what the manifest and the files say."""

from __future__ import annotations

import statistics
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.figure import Figure
from PIL import Image

import cirbench
from cirbench import Manifest, timed
from cirbench.cli import main
from cirbench.errors import CirbenchError
from cirbench.report import contact_sheet, drawing, plots, stats, strip, summary
from cirbench.samples import sample_source
from cirbench.sources import read
from cirbench.verify import verify

UNSEEN = ("cross-degree", "cross-type")


@pytest.fixture(scope="module")
def built(_originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small photos and a large one, seen and unseen tasks of two codecs and a variant."""
    folder = tmp_path_factory.mktemp("report")
    big = folder / "sets" / "big"
    big.mkdir(parents=True)
    (big / "cat.png").write_bytes((sample_source().root / "chelsea.png").read_bytes())
    source, out = [f"small={_originals}", f"big={big}"], folder / "out"
    cirbench.build(source, codec=["jpeg"], quality=[5, 10, 25], out=out)
    cirbench.build(source, codec=["jpeg"], quality=[10], chroma="444", out=out)
    cirbench.build(source, codec=["avc"], qp=[42], preset="fast", out=out)
    return out


def run(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result


def by_task(built: Path) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in Manifest.open(built):
        groups.setdefault((row["codec"], row["level"], row["variant"]), []).append(row)
    return groups


def test_totals_count_bytes_on_disk_and_seconds(built) -> None:
    found = {entry["codec"]: entry for entry in stats.totals(built)}
    assert list(found) == ["jpeg", "avc", "all"]
    columns = ("codec", "bitstream_path", "lq_path", "width", "height")
    table = timed.table(built, columns).to_pylist()
    for name, entry in found.items():
        rows = [row for row in table if name in (row["codec"], "all")]
        coded = sum((built / row["bitstream_path"]).stat().st_size for row in rows)
        stored = sum((built / row["lq_path"]).stat().st_size for row in rows)
        pixels = sum(row["width"] * row["height"] for row in rows)
        assert entry["images"] == 4 and entry["rows"] == len(rows)
        assert entry["bytes"] == coded
        assert entry["png_ratio"] == pytest.approx(stored / coded)
        for column in ("encode_seconds", "decode_seconds"):
            seconds = sum(row[column] for row in rows)
            assert entry[column] == pytest.approx(seconds)
            assert entry[f"{column}_per_megapixel"] == pytest.approx(1e6 * seconds / pixels)


def test_without_stored_pixels_or_timings_there_is_a_dash(photos, tmp_path) -> None:
    cirbench.build(
        photos, codec="jpeg", quality=[10], store_mode="bitstream-only", out=tmp_path / "out"
    )
    (tmp_path / "out/timings.parquet").unlink()
    (entry,) = stats.totals(tmp_path / "out")
    assert entry["png_ratio"] is entry["encode_seconds"] is entry["decode_seconds"] is None
    last = run("stats", tmp_path / "out").output.split("\n\n")[1].splitlines()
    assert last[1].split() == ["jpeg", "3", "3", f"{entry['bytes']:,}", *["-"] * 5]
    names = {path.name for path in (tmp_path / "out/stats").iterdir()}
    assert names == {"rate_distortion.png", "bpp.png"}


def markers(figure: Figure, panel: int) -> Iterator[tuple[float, float, bool]]:
    """x, y and openness of every point of a panel."""
    for line in figure.axes[panel].get_lines():
        if line.get_marker():
            face = line.get_markerfacecolor()
            yield float(line.get_xdata()[0]), float(line.get_ydata()[0]), face == "white"


def test_rate_distortion_points_are_the_manifests_means(built) -> None:
    figure = plots.rate_distortion(plots.series(summary.rows(built)))
    for panel, column in enumerate(("psnr_rgb", "psnr_y")):
        expected = sorted(
            (
                statistics.fmean(row["bpp"] for row in rows),
                statistics.fmean(row[column] for row in rows),
                rows[0]["kind"] in UNSEEN,
            )
            for rows in by_task(built).values()
        )
        assert sorted(markers(figure, panel)) == [pytest.approx(point) for point in expected]
        assert figure.axes[panel].get_xscale() == "log"


def test_labels_are_near_their_points_and_apart_from_each_other(built) -> None:
    figure = plots.rate_distortion(plots.series(summary.rows(built)))
    for axes in figure.axes:
        assert sorted(note.get_text() for note in axes.texts) == sorted(
            level for _, level, _ in by_task(built)
        )
        boxes = [note.get_window_extent() for note in axes.texts]
        for i, (note, box) in enumerate(zip(axes.texts, boxes, strict=True)):
            x, y = axes.transData.transform(note.xy)
            away = max(box.x0 - x, x - box.x1, box.y0 - y, y - box.y1)
            assert 0 < away * 72 / figure.dpi < 20
            assert not any(box.overlaps(other) for other in boxes[:i])


def test_histograms_hold_every_image(built) -> None:
    figure = plots.histograms(plots.series(summary.rows(built)), Manifest.open(built).table)
    outlines = [patch for patch in figure.axes[0].patches if not patch.get_fill()]
    tasks = by_task(built)
    assert len(outlines) == len(tasks)
    spans, areas = [], []
    for patch in outlines:
        data = patch.get_data()
        spans.append((data.edges[0], data.edges[-1]))
        areas.append(float((data.baseline - data.values).sum()))
    assert areas == pytest.approx([areas[0]] * len(areas))  # each sums to all of its images
    for rows in tasks.values():
        rates = [row["bpp"] for row in rows]
        assert any(low <= min(rates) and max(rates) <= high for low, high in spans)


def test_time_points_are_medians_per_megapixel(built) -> None:
    columns = ("task", "codec", "level", "variant", "kind", "width", "height")
    table = timed.table(built, columns)
    figure = plots.times(plots.series(summary.rows(built)), table)
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in table.to_pylist():
        seconds = row["encode_seconds"] / (row["width"] * row["height"] / 1e6)
        groups.setdefault((row["task"], row["variant"]), []).append(seconds)
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    places = dict(zip(names, figure.axes[0].get_yticks(), strict=True))
    points = {y: x for x, y, _ in markers(figure, 0)}
    for key, seconds in groups.items():
        place = places[" ".join(key).strip()]
        assert points[place] == pytest.approx(statistics.median(seconds))


def test_svg_keeps_its_texts_and_is_the_same_every_time(built, tmp_path) -> None:
    printed = run("stats", built, "--out", tmp_path / "a", "--format", "svg").output
    run("stats", built, "--out", tmp_path / "b", "--format", "svg")
    assert printed.startswith(summary.table(built))
    tasks = by_task(built)
    keys = {f"{codec}-{level} {variant}".strip() for codec, level, variant in tasks}
    wanted = {
        "rate_distortion": {level for _, level, _ in tasks} | {"JPEG", "JPEG chroma=444", "seen"},
        "bpp": keys,
        "time": keys,
    }
    for name, texts in wanted.items():
        path = tmp_path / f"a/{name}.svg"
        assert str(path) in printed
        assert path.read_bytes() == (tmp_path / f"b/{name}.svg").read_bytes()
        found = {"".join(node.itertext()).strip() for node in ET.parse(path).iter()}
        assert texts <= found, texts - found


def test_plots_and_strips_go_into_the_data_set_and_do_not_disturb_it(photos, tmp_path) -> None:
    out = tmp_path / "out"
    cirbench.build(photos, codec="jpeg", quality=[10], out=out)
    run("stats", out)
    for name in ("rate_distortion", "bpp", "time"):
        assert imagecodecs.imread(out / f"stats/{name}.png").shape[1] == 2100  # 7 inches, 300 dpi
    assert run("show", out, "--image", "coffee").output.strip() == str(
        out / "strips/photos/coffee.png"
    )
    assert not verify(out).problems
    cirbench.build(photos, codec="jpeg", quality=[10, 15], out=out)
    assert len(Manifest.open(out)) == 6


def test_images_whose_lq_equals_the_hq_are_plotted_where_they_can_be(tmp_path) -> None:
    (tmp_path / "flat").mkdir()
    flat = np.full((32, 48, 3), 128, np.uint8)
    (tmp_path / "flat/grey.png").write_bytes(imagecodecs.png_encode(flat))
    cirbench.build(tmp_path / "flat", codec="jpeg", quality=[10], out=tmp_path / "out")
    (row,) = Manifest.open(tmp_path / "out")
    assert row["psnr_rgb"] == float("inf")
    run("stats", tmp_path / "out", "--format", "svg")
    texts = {node.text for node in ET.parse(tmp_path / "out/stats/time.svg").iter()}
    assert "jpeg-qf10" in texts
    run("show", tmp_path / "out", "--image", "grey")


def test_missing_matplotlib_is_one_sentence_after_the_table(built, tmp_path) -> None:
    script = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from cirbench.cli import main
main()
"""
    command = [sys.executable, "-c", script, "stats", str(built), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout.startswith(summary.table(built))
    assert len(done.stderr.splitlines()) == 1 and "pip install" in done.stderr
    command[3:] = ["show", str(built), "--image", "cat", "--out", str(tmp_path / "cat.png")]
    subprocess.run(command, check=True, capture_output=True)


def strip_of(built: Path, name: str, out: Path) -> tuple[np.ndarray, dict[str, dict[str, Any]]]:
    run("show", built, "--image", name, "--out", out)
    rows = (row for row in Manifest.open(built) if row["hq_path"] == f"{name}.png")
    return imagecodecs.imread(out), {f"{row['level']} {row['variant']}": row for row in rows}


# Where each task is: line of its codec, then from strongest to weakest artefacts.
PLACES = {"qf5 ": (0, 1), "qf10 ": (0, 2), "qf25 ": (0, 3), "qf10 chroma=444": (0, 4)}
PLACES |= {"qp42 preset=fast": (1, 1)}


def cell(sheet: np.ndarray, place: tuple[int, int], lines: int = 2) -> np.ndarray:
    """The 256 pixels wide cell in a line and column: the title takes 40 pixels."""
    height = (sheet.shape[0] - 40) // lines
    top, left = 40 + place[0] * height, 8 + place[1] * (256 + 8)
    return sheet[top : top + height, left : left + 256]


def test_a_small_image_is_shown_whole_and_enlarged(built, tmp_path) -> None:
    sheet, rows = strip_of(built, "coffee", tmp_path / "strip.png")
    data = Manifest.open(built)
    hq = data.hq(rows["qf5 "])
    high, wide = hq.shape[:2]
    pictures = {place: data.lq(rows[key]) for key, place in PLACES.items()}
    assert len(rows) == len(pictures) == 5
    for place, picture in {(0, 0): hq, (1, 0): hq, **pictures}.items():
        shown = cell(sheet, place)
        np.testing.assert_array_equal(shown[:high, :wide], picture)
        big = picture.repeat(2, 0).repeat(2, 1)
        np.testing.assert_array_equal(shown[high + 8 : 3 * high + 8, : 2 * wide], big)


def test_a_large_image_is_scaled_down_over_its_busiest_crop(built, tmp_path) -> None:
    sheet, rows = strip_of(built, "cat", tmp_path / "strip.png")
    data = Manifest.open(built)
    hq = data.hq(rows["qf5 "])
    crop = drawing.busiest(hq, 128)
    for key, place in PLACES.items():
        lq = data.lq(rows[key])
        small = Image.fromarray(lq)
        small.thumbnail((256, 256), Image.Resampling.LANCZOS)
        shown = cell(sheet, place)
        high = small.height
        np.testing.assert_array_equal(shown[:high, : small.width], np.asarray(small))
        np.testing.assert_array_equal(shown[high + 8 : high + 264][::2, ::2], lq[crop])
    framed = cell(sheet, (0, 0))
    np.testing.assert_array_equal(framed[high + 8 : high + 264][1::2, 1::2], hq[crop])
    whole = Image.fromarray(hq)
    whole.thumbnail((256, 256), Image.Resampling.LANCZOS)
    changed = (framed[:high] != np.asarray(whole)).any(axis=2).nonzero()
    for part, axis, length in ((crop[0], changed[0], 300), (crop[1], changed[1], 451)):
        scale = (whole.height if length == 300 else whole.width) / length
        assert axis.min() == pytest.approx(part.start * scale, abs=1)
        assert axis.max() == pytest.approx(part.stop * scale, abs=2)


def test_the_busiest_crop_is_where_the_edges_are() -> None:
    rgb = np.full((200, 300, 3), 128, np.uint8)
    rgb[90:130, 210:250] = np.random.default_rng(0).integers(0, 256, (40, 40, 3))
    rows, columns = drawing.busiest(rgb, 44)
    assert rows.start <= 90 and rows.stop >= 130 and columns.start <= 210 and columns.stop >= 250
    assert drawing.busiest(rgb[:20, :30], 44) == (slice(0, 20), slice(0, 30))


def test_the_contact_sheet_shows_the_same_crops(built) -> None:
    path = contact_sheet.write(built, photos=4)
    assert path
    sheet = imagecodecs.imread(path)
    row = next(row for row in Manifest.open(built) if row["hq_path"] == "cat.png")
    hq = read(sample_source().root / "chelsea.png").rgb
    big = drawing.enlarge(hq[drawing.busiest(hq, 96)], 2)
    block = sheet[: 34 + 2 * (192 + 34 + 8)]  # big/cat.png comes before the small photos
    assert row["set"] == "big"
    np.testing.assert_array_equal(block[34 : 34 + 192, 8 : 8 + 192], big)


def test_images_are_found_by_path_stem_or_set(photos, tmp_path) -> None:
    for folder in ("one/a", "one/b", "two/a"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "cat.v1.png").write_bytes((photos / "chelsea.png").read_bytes())
    (tmp_path / "two/a/coffee.png").write_bytes((photos / "coffee.png").read_bytes())
    sources = [f"{name}={tmp_path / name}" for name in ("one", "two")]
    data = tmp_path / "data"
    cirbench.build(sources, codec="jpeg", quality=[10], out=data)
    for name, written in (
        ("coffee", "two/a/coffee.png"),
        ("a/coffee.png", "two/a/coffee.png"),
        ("one/a/cat.v1.png", "one/a/cat.v1.png"),
        ("b/cat.v1", "one/b/cat.v1.png"),
    ):
        assert strip.write(data, name) == data / "strips" / written
        assert (data / "strips" / written).is_file()
    for name, listed in (
        ("cat.v1", "one/a/cat.v1.png, one/b/cat.v1.png, two/a/cat.v1.png"),
        ("a/cat.v1.png", "one/a/cat.v1.png, two/a/cat.v1.png"),
        ("cofee", "did you mean two/a/coffee.png?"),
        ("zzz", "it has one/a/cat.v1.png, one/b/cat.v1.png, two/a/cat.v1.png, two/a/coffee.png"),
    ):
        result = run("show", data, "--image", name, code=1)
        assert listed in result.output and len(result.output.splitlines()) == 1


def test_user_errors_are_one_sentence(built, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/bad.png").write_bytes(b"no")
    cirbench.build(tmp_path / "photos", codec="jpeg", quality=[10], out=tmp_path / "none")
    elsewhere = tmp_path / "elsewhere"
    for args, message in (
        (("stats", tmp_path / "nowhere"), "cirbench build"),
        (("stats", built, "--out", tmp_path / "file"), "choose another place with --out"),
        (("stats", tmp_path / "none"), "no usable rows"),
        (("show", built, "--image", "cat", "--out", tmp_path / "cat.jpg"), "ends in .png"),
        (("show", built, "--image", "cat", "--hq-root", f"big={elsewhere}"), "elsewhere/cat.png"),
    ):
        result = run(*args, code=1)
        sentence = result.output.splitlines()[-1]
        assert sentence.startswith("cirbench: ") and message in sentence, result.output


def test_a_missing_png_is_named(photos, tmp_path) -> None:
    cirbench.build(photos, codec="jpeg", quality=[10], out=tmp_path / "out")
    (tmp_path / "out/lq/jpeg/qf10/photos/coffee.png").unlink()
    with pytest.raises(CirbenchError, match=r"lq/jpeg/qf10/photos/coffee\.png .* cirbench verify"):
        stats.totals(tmp_path / "out")


def test_help_says_what_the_commands_do() -> None:
    for command, word in (("stats", "rate_distortion"), ("show", "--image")):
        assert word in run(command, "--help").output
        assert f"\n  {command} " in run("--help").output
