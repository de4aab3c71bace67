"""Memory does not grow with the number of rows; a large manifest is read by need, not whole."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cirbench import Manifest, manifest, manifest_rows, manifest_write, timed
from cirbench.builder import finished, plan
from cirbench.builder.journal import ImageRecord, Journal
from cirbench.builder.plan import assign_names
from cirbench.errors import CirbenchError
from cirbench.report import stats, summary
from cirbench.sources import Found


def row(number: int) -> dict[str, Any]:
    """A made-up row; of every 20, one of WebP and one that failed."""
    codec = "webp" if number % 20 == 1 else "jpeg"
    failed = number % 20 == 2
    name = f"{number:07}"
    return {
        "row_id": plan.digest("row", name),
        "content_id": plan.digest("content", name),
        "set": "s",
        "split": "",
        "recipe": "paper",
        "kind": "seen",
        "hq_root": "s",
        "task": f"{codec}-qf10",
        "codec": codec,
        "level": "qf10",
        "level_value": 10,
        "variant": "",
        "encoder": "e",
        "encoder_version": "1",
        "decoder_version": "1",
        "settings": "{}",
        "hq_path": f"{name}.png",
        "width": 64,
        "height": 48,
        "hq_sha256": name,
        "photo_sha256": name,
        "lq_sha256": name,
        "bitstream_sha256": name,
        "bitstream_path": f"bitstreams/{name}.jpg",
        "bitstream_bytes": 3,
        "bpp": 0.5,
        "psnr_rgb": 20.0 + number % 7,
        "psnr_y": 21.0,
        "status": "error" if failed else "ok",
        "error": "broken" if failed else None,
        "encode_seconds": 1e-6 * (1 + number % 3),  # a second would be a commit
    }


def filled(folder: Path, rows: int) -> Path:
    folder.mkdir()
    with Journal(folder) as journal:
        for number in range(rows):
            journal.add(row(number))
    return folder


def write(folder: Path) -> Path:
    with Journal(folder) as journal:
        journal.set_meta("manifest_current", "no")
        manifest.write(folder, journal, "test")
    return folder


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of rows behave as millions do: row groups of 500, nothing kept in memory."""
    monkeypatch.setattr(manifest_write, "_ROW_GROUP", 500)
    monkeypatch.setattr(manifest_write, "_BATCH", 100)
    monkeypatch.setattr(manifest, "IN_MEMORY", 0)


def peak(work: Callable[[], object]) -> int:
    """Bytes that Python holds at the highest point. Arrow's are not seen: tables are counted."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_rows(tmp_path, small_steps) -> None:
    few, many = filled(tmp_path / "few", 1_000), filled(tmp_path / "many", 10_000)

    def resume(folder: Path) -> None:
        with Journal(folder) as journal:
            finished.rows(folder, journal)

    for work in (write, summary.table, lambda folder: list(summary.failures(folder)), resume):
        work(few)  # imports and caches come first
        small, large = peak(lambda w=work: w(few)), peak(lambda w=work: w(many))
        assert large < 2 * small + 20 * 10_000, (work, small, large)  # 20 bytes a row, not 1,000
    assert max(map(len, Manifest.open(many).tables())) == 500


def test_row_groups_and_their_bytes_do_not_depend_on_the_order_of_work(
    tmp_path, small_steps
) -> None:
    files = []
    for name, order in (("a", range(1_234)), ("b", reversed(range(1_234)))):
        (tmp_path / name).mkdir()
        with Journal(tmp_path / name) as journal:
            for number in order:
                journal.add(row(number))
            manifest.write(tmp_path / name, journal, "test")
        files.append((tmp_path / name / "manifest.parquet").read_bytes())
    assert files[0] == files[1]
    groups = pq.ParquetFile(tmp_path / "a" / "manifest.parquet").metadata
    assert [groups.row_group(n).num_rows for n in range(3)] == [500, 500, 234]


def test_a_manifest_read_by_need_says_the_same(tmp_path, small_steps, monkeypatch) -> None:
    folder = write(filled(tmp_path / "out", 2_000))
    lazy = Manifest.open(folder)
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "IN_MEMORY", 10_000)
        whole = Manifest.open(folder)
    assert len(whole) == len(lazy) == 2_000
    for wanted in (
        {},
        {"codec": "webp"},
        {"level": ["qf10", "qf5"], "lq_path": None},
        {"bpp": 9},
        {"set": "s"},
    ):
        one, other = whole.filter(**wanted), lazy.filter(**wanted)
        assert len(one) == len(other) and list(one) == list(other)
        assert one.usable.table.equals(other.usable.table)
        assert one.read("row_id", "bpp").equals(other.read("row_id", "bpp"))
    table = summary.table(folder)
    monkeypatch.setattr(manifest, "IN_MEMORY", 10_000)
    assert summary.table(folder) == table
    assert [entry["rows"] for entry in stats.totals(folder)] == [1_800, 100, 1_900]


def test_a_filter_reads_the_columns_and_row_groups_that_it_needs(
    tmp_path, small_steps, monkeypatch
) -> None:
    folder = write(filled(tmp_path / "out", 2_000))
    read: list[tuple[str, ...]] = []
    check = manifest_rows.manifest_check.check_rows
    monkeypatch.setattr(
        manifest_rows.manifest_check,
        "check_rows",
        lambda table, path: (read.append(tuple(table.column_names)), check(table, path)),
    )
    data = Manifest.open(folder).filter(hq_path="0000007.png")
    assert len(data) == 1 and read == []
    assert data.read("bpp").to_pylist() == [{"bpp": 0.5}]
    assert read == [("bpp", "status")]  # one row group of four


def test_of_a_manifest_read_by_need_no_bad_row_is_given_out(tmp_path, small_steps) -> None:
    folder = write(filled(tmp_path / "out", 1_000))
    table = pq.read_table(folder / "manifest.parquet")
    paths = pc.replace_with_mask(
        table["hq_path"].combine_chunks(),
        pc.equal(table["hq_path"], "0000007.png").combine_chunks(),
        pa.scalar("../7.png"),
    )
    place = table.schema.get_field_index("hq_path")
    table = table.set_column(place, table.schema.field(place), paths)
    pq.write_table(table, folder / "manifest.parquet", row_group_size=500)
    data = Manifest.open(folder)
    with pytest.raises(CirbenchError, match="leaves its folder"):
        list(data)
    with pytest.raises(CirbenchError, match="leaves its folder"):
        data.read("hq_path")
    pq.write_table(table.slice(0, 3), folder / "manifest.parquet")
    with pytest.raises(CirbenchError, match="was replaced while it was read"):
        data.read("bpp")


def test_seconds_stay_with_their_rows(tmp_path, small_steps) -> None:
    folder = write(filled(tmp_path / "out", 1_700))
    wanted = {r["row_id"]: r["encode_seconds"] for r in map(row, range(1_700)) if not r["error"]}
    table = timed.table(folder, ("codec",))
    assert {one["row_id"]: one["encode_seconds"] for one in table.to_pylist()} == wanted
    timings = pq.read_table(folder / "timings.parquet")
    pq.write_table(timings.slice(100, 900), folder / "timings.parquet", row_group_size=70)
    known = set(timings["row_id"].to_pylist()[100:1000])
    for one in timed.table(folder, ()).to_pylist():
        there = wanted[one["row_id"]] if one["row_id"] in known else None
        assert one["encode_seconds"] == there
    (folder / "timings.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(CirbenchError, match="timings.parquet is damaged"):
        summary.table(folder)


def test_row_ids_are_a_set_in_16_bytes_each() -> None:
    ids = sorted(plan.digest(str(number)) for number in range(3_000))
    ids = sorted({*ids, "0" * 32, "f" * 32, "0" * 31 + "1"})
    found = finished.RowIds()
    for one in ids:
        found.append(one)
    assert len(found) == len(ids) and all(one in found for one in ids)
    assert not any(plan.digest("other", one) in found for one in ids)
    with pytest.raises(ValueError, match="not larger"):
        found.append(ids[-1])


def test_a_row_counts_as_finished_only_with_its_files(tmp_path) -> None:
    folder = filled(tmp_path / "out", 10)
    (folder / "bitstreams").mkdir()
    for number, size in ((3, 3), (4, 2), (2, 3)):  # as it should be, cut off, of a failed row
        (folder / f"bitstreams/{number:07}.jpg").write_bytes(bytes(size))
    with Journal(folder) as journal:
        found = finished.rows(folder, journal)
    assert len(found) == 1 and row(3)["row_id"] in found


def test_names_once_given_are_taken_as_they_are() -> None:
    found = [Found("s", f"a/{n:05}.png", Path("/nowhere"), "", 1, 1) for n in range(100)]
    names = assign_names(found, {})
    assert assign_names(found, names) is names


def test_an_older_journal_gets_the_new_indexes(tmp_path) -> None:
    with Journal(tmp_path) as journal:
        journal.add(row(0) | {"split": "test"})
        journal.put_image(ImageRecord("s", "a.png", "a", 1, 1, "same", 8, 8))
        journal.put_image(ImageRecord("s", "b.png", "b", 1, 1, "same", 8, 8))
        journal.put_image(ImageRecord("s", "c.png", "c", 1, 1, "other", 8, 8))
        journal._db.execute('CREATE INDEX rows_by_image ON rows ("set", hq_path)')
        journal._db.execute("DROP INDEX rows_by_split")
    with Journal(tmp_path) as journal:
        names = {name for (name,) in journal._query("SELECT name FROM sqlite_master")}
        assert "rows_by_split" in names and "rows_by_image" not in names
        assert journal.splits("s") == {"0000000.png": "test"}
        assert [image.path for image in journal.shared_images()] == ["a.png", "b.png"]
