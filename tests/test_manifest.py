from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cirbench
from cirbench import Manifest, manifest, schema
from cirbench.builder.journal import ROW_FIELDS, Journal
from cirbench.builder.store import inside
from cirbench.errors import CirbenchError
from cirbench.resources import data_dir

VALUES = {
    "str": st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    "int": st.none() | st.integers(-(2**63), 2**63 - 1),
    "float": st.none() | st.floats(allow_nan=False),
}
PATHS = st.sampled_from(["a/b.png", "é ü.png", "..x/y..z", "a..b"])
ROW = st.fixed_dictionaries(
    {c.name: VALUES[c.type] for c in schema.COLUMNS}
    | {"encode_seconds": VALUES["float"], "decode_seconds": VALUES["float"]}
    | {"status": st.just("error")}
    | {"row_id": st.text("0123456789abcdef", min_size=32, max_size=32), "hq_root": st.just("s")}
    | dict.fromkeys(("hq_path", "lq_path", "bitstream_path"), PATHS)
)


@given(st.lists(ROW, max_size=6, unique_by=lambda row: row["row_id"]))
@settings(max_examples=40, deadline=None)
def test_rows_survive_journal_and_parquet(tmp_path_factory, rows) -> None:
    folder = tmp_path_factory.mktemp("roundtrip")
    with Journal(folder) as journal:
        for row in rows:
            journal.add(row)
        manifest.write(folder, journal, "test")
    read = list(Manifest.open(folder))
    wanted = sorted(rows, key=lambda row: row["row_id"])
    assert read == [{name: row[name] for name in schema.NAMES} for row in wanted]
    timings = pq.read_table(folder / "timings.parquet").to_pylist()
    assert [t["encode_seconds"] for t in timings] == [row["encode_seconds"] for row in wanted]


@given(st.lists(ROW, min_size=2, max_size=6, unique_by=lambda row: row["row_id"]))
@settings(max_examples=20, deadline=None)
def test_the_order_of_work_does_not_show(tmp_path_factory, rows) -> None:
    files = []
    for order in (rows, rows[::-1]):
        folder = tmp_path_factory.mktemp("order")
        with Journal(folder) as journal:
            for row in order:
                journal.add(row)
            manifest.write(folder, journal, "test")
        files.append((folder / "manifest.parquet").read_bytes())
    assert files[0] == files[1]


def test_the_schema_document_is_the_schema() -> None:
    document = (data_dir("manifests") / "schema.md").read_text(encoding="utf-8")
    assert document == schema.markdown(), "run: python -m cirbench.schema > manifests/schema.md"


def test_every_parquet_field_carries_its_description(photos, tmp_path) -> None:
    cirbench.build(photos, codec="jpeg", quality=[10], out=tmp_path / "out")
    for name in ("manifest", "timings"):
        for field in pq.read_schema(tmp_path / "out" / f"{name}.parquet"):
            assert len(field.metadata[b"description"]) > 10, field.name
    fields = pq.read_schema(tmp_path / "out/manifest.parquet")
    assert {f.name: f.metadata[b"description"].decode() for f in fields} == {
        c.name: c.doc for c in schema.COLUMNS
    }


def rewritten(folder: Path, **columns: object) -> Path:
    """The data set with single columns of its manifest replaced."""
    table = pq.read_table(folder / "manifest.parquet")
    for name, value in columns.items():
        index = table.schema.get_field_index(name)
        array = pa.array([value] * len(table), table.schema.field(name).type)
        table = table.set_column(index, table.schema.field(name), array)
    pq.write_table(table, folder / "manifest.parquet")
    return folder


@pytest.mark.parametrize("column", ["hq_path", "lq_path", "bitstream_path"])
@pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "a/../../x.png", ".."])
def test_paths_that_leave_their_root_are_refused(column, path, photos, tmp_path) -> None:
    cirbench.build(photos, codec="jpeg", quality=[10], out=tmp_path / "out")
    with pytest.raises(CirbenchError, match="leaves its folder"):
        Manifest.open(rewritten(tmp_path / "out", **{column: path}))
    with pytest.raises(CirbenchError, match="leaves its folder"):
        inside(tmp_path, path)


@pytest.mark.parametrize("name", ["..", "a/b", ""])
def test_root_names_that_are_paths_are_refused(name, photos, tmp_path) -> None:
    cirbench.build(photos, codec="jpeg", quality=[10], out=tmp_path / "out")
    with pytest.raises(CirbenchError, match="hq_root"):
        Manifest.open(rewritten(tmp_path / "out", hq_root=name))


def test_what_is_no_manifest_is_refused_in_one_sentence(tmp_path) -> None:
    file = tmp_path / "manifest.parquet"
    with pytest.raises(CirbenchError, match="there is no"):
        Manifest.open(tmp_path)
    file.write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(CirbenchError, match="damaged or no cirbench manifest"):
        Manifest.open(tmp_path)
    pq.write_table(pa.table({"x": [1]}), file)
    with pytest.raises(CirbenchError, match="damaged or no cirbench manifest"):
        Manifest.open(tmp_path)
    meta = {"cirbench": json.dumps({"schema_version": 99})}
    pq.write_table(schema.ARROW_SCHEMA.empty_table().replace_schema_metadata(meta), file)
    with pytest.raises(CirbenchError, match="schema version 99"):
        Manifest.open(tmp_path)


def test_filter_takes_values_and_lists(photos, tmp_path) -> None:
    cirbench.build(photos, codec=["jpeg", "webp"], quality=[5, 10], out=tmp_path / "out")
    data = Manifest.open(tmp_path / "out")
    assert len(data.filter(codec="jpeg", level="qf5")) == 3
    assert len(data.filter(codec=["jpeg", "webp"], level_value=10, kind="seen")) == 6
    with pytest.raises(CirbenchError, match="no column 'codecs'"):
        data.filter(codecs="jpeg")


def test_a_changed_hq_image_is_noticed_on_first_read(photos, tmp_path) -> None:
    cirbench.build(photos, codec="jpeg", quality=[5], out=tmp_path / "out")
    (photos / "coffee.png").write_bytes((photos / "chelsea.png").read_bytes())
    data = Manifest.open(tmp_path / "out")
    (row,) = data.filter(hq_path="coffee.png")
    with pytest.raises(CirbenchError, match="not the HQ image this row was made from"):
        data.hq(row)


def test_a_broken_journal_is_refused_and_left_alone(photos, tmp_path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(CirbenchError, match="cannot be used as a journal"):
        cirbench.build(photos, codec="jpeg", quality=[5], out=tmp_path)
    assert (tmp_path / "journal.sqlite").read_bytes().startswith(b"this is no database")


def test_journal_fields_are_the_manifests_and_its_timings() -> None:
    assert ROW_FIELDS[: len(schema.NAMES)] == schema.NAMES
