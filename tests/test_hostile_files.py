"""Manifests, journals, TOML and exports of strangers: a value, or one sentence."""

from __future__ import annotations

import io
import json
import sqlite3
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import FEW, damage, sentence
from hypothesis import given, settings
from hypothesis import strategies as st

import cirbench
from cirbench import Manifest, recipe, roots, sets, toml
from cirbench.builder.journal import Journal
from cirbench.evaluation import checkpoints
from cirbench.evaluation.journal import Journal as Scores
from cirbench.export.import_ import import_
from cirbench.export.write import export
from cirbench.manifest import write
from cirbench.report import summary
from cirbench.verify import verify


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> Path:
    import imagecodecs

    folder = tmp_path_factory.mktemp("files")
    (folder / "photos").mkdir()
    for name in ("a", "b"):
        (folder / f"photos/{name}.png").write_bytes(imagecodecs.png_encode(photo[: 30 + ord(name)]))
    cirbench.build(folder / "photos", codec="jpeg", quality=[10], out=folder / "data")
    return folder / "data"


# -- the manifest


def use(folder: Path) -> None:
    manifest = Manifest.open(folder)
    for row in manifest.usable:
        for look in (manifest.hq, manifest.lq, manifest.bitstream):
            sentence(lambda look=look, row=row: look(row))
    summary.table(folder)
    verify(folder, jobs=1)


@FEW
@given(data=st.data())
def test_a_damaged_manifest_is_one_sentence(data: st.DataObject, built: Path) -> None:
    path = built / "manifest.parquet"
    whole = path.read_bytes()
    plain = io.BytesIO()  # without compression and checksums, damage gets further
    pq.write_table(pq.read_table(path), plain, compression="none")
    try:
        path.write_bytes(damage(data, plain.getvalue()))
        sentence(lambda: use(built))
    finally:
        path.write_bytes(whole)


def changed(folder: Path, out: Path, meta: object = None, **columns: object) -> Path:
    table = pq.read_table(folder / "manifest.parquet")
    for name, value in columns.items():
        index, kind = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(index, kind, pa.array([value] * len(table), kind.type))
    if meta is not None:
        table = table.replace_schema_metadata({"cirbench": meta})
    pq.write_table(table, out / "manifest.parquet")
    return out


@pytest.mark.parametrize(
    "meta",
    ["[]", "1", "null", "{", "[" * 100_000, '{"schema_version": {}}', '{"schema_version": null}']
    + [json.dumps({"schema_version": 1, "recipes": recipes}) for recipes in (5, [1], [{}], {})],
)
def test_metadata_of_another_form_is_refused(meta, built, tmp_path) -> None:
    assert "manifest.parquet" in sentence(lambda: Manifest.open(changed(built, tmp_path, meta)))


@pytest.mark.parametrize(
    "columns",
    [
        {"width": 0},
        {"height": -5},
        {"width": 2**62, "height": 2**62},
        {"width": 100_000, "height": 100_000},
        {"bitstream_bytes": -1},
        {"bpp": float("nan")},
        {"level": "qf9000"},
        {"level": "../x"},
        {"split": "<b>"},
        {"kind": "other things"},
        {"set": None},
        {"variant": None},
        {"hq_root": "a/b"},
        {"hq_root": None},
        {"bitstream_path": "."},
        {"codec": "gif"},
    ],
)
def test_rows_that_cannot_be_are_refused(columns, built, tmp_path) -> None:
    where = sentence(lambda: Manifest.open(changed(built, tmp_path, **columns)))
    assert where.startswith(str(tmp_path / "manifest.parquet"))


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "{}", '{"encoder": "gif"}', "5"])
def test_settings_that_are_none_are_one_sentence(text, built, tmp_path) -> None:
    manifest = Manifest.open(changed(built, tmp_path, settings=text))
    (tmp_path / "bitstreams").symlink_to(built / "bitstreams")
    assert "settings of" in sentence(lambda: manifest.lq(next(iter(manifest)), stored=False))


def test_texts_that_are_no_utf8_are_refused(built, tmp_path) -> None:
    raw = pa.array([b"\xff\xfe"] * 2, pa.binary())
    table = pq.read_table(built / "manifest.parquet")
    bad = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    at = table.schema.get_field_index("note")
    pq.write_table(table.set_column(at, table.schema.field(at), bad), tmp_path / "manifest.parquet")
    assert "damaged" in sentence(lambda: Manifest.open(tmp_path))


def test_one_long_text_in_many_rows_takes_no_memory(built, tmp_path) -> None:
    """Some kB on disk, 40 GB when it is written out."""
    rows = 20_000
    table = pq.read_table(built / "manifest.parquet").take([0] * rows)
    long = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * 2_000_000])
    at = table.schema.get_field_index("note")
    table = table.set_column(at, "note", long).replace_schema_metadata({})
    path = tmp_path / "manifest.parquet"
    pq.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 1_000_000
    assert "longer than" in sentence(lambda: Manifest.open(tmp_path))


# -- journals


def edited(folder: Path, out: Path, *statements: str) -> Path:
    out.mkdir(exist_ok=True)
    (out / "journal.sqlite").write_bytes((folder / "journal.sqlite").read_bytes())
    db = sqlite3.connect(out / "journal.sqlite")
    for one in statements:
        db.execute(one)
    db.commit()
    db.close()
    return out


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM images; END"],
        ["DROP TABLE rows", "CREATE VIEW rows AS SELECT 1 AS row_id"],
        ["CREATE VIRTUAL TABLE v USING fts5(x)"],
        ["UPDATE meta SET value = '{' WHERE key = 'recipes'"],
        ["UPDATE meta SET value = '[1]' WHERE key = 'recipes'"],
        ["UPDATE meta SET value = 'x' WHERE key = 'schema_version'"],
        ["DROP TABLE images", "CREATE TABLE images (x TEXT)"],
    ],
)
def test_a_journal_that_is_none_is_one_sentence(statements, built, tmp_path) -> None:
    out = edited(built, tmp_path / "out", *statements)
    source = built.parent / "photos"
    said = sentence(lambda: cirbench.build(source, codec="jpeg", quality=[10], out=out))
    assert "journal.sqlite" in said


@pytest.mark.parametrize("value", ["'wide'", "x'ff'"])
def test_a_journal_of_other_values_makes_no_manifest(value, built, tmp_path) -> None:
    with Journal(edited(built, tmp_path / "out", f"UPDATE rows SET width = {value}")) as journal:
        journal.set_meta("manifest_current", "no")
        assert "journal.sqlite" in sentence(lambda: write(tmp_path / "out", journal, "0"))


@FEW
@given(data=st.data())
def test_a_damaged_journal_is_one_sentence(data, built, tmp_path_factory) -> None:
    out = tmp_path_factory.mktemp("journal")
    (out / "journal.sqlite").write_bytes(damage(data, (built / "journal.sqlite").read_bytes()))

    def read() -> None:
        with Journal(out) as journal:
            list(journal.rows())
            journal.recipes()
            journal.set_meta("x", "y")

    sentence(read)


@FEW
@given(data=st.data())
def test_a_damaged_journal_of_scores_is_one_sentence(data, tmp_path_factory) -> None:
    out = tmp_path_factory.mktemp("scores")
    with Scores(out) as journal:
        journal.add([((f"r{n}", "m", "", "s", "psnr", "native-y", 1, "0"), n) for n in range(40)])
    path = out / "journal.sqlite"
    path.write_bytes(damage(data, path.read_bytes()))

    def read() -> None:
        with Scores(out) as journal:
            journal.scores("m", "", "0")
            journal.remember("a", "b")

    sentence(read)


# -- TOML


_TOML = [
    "x = " + "[" * 5000,
    "x = " + "9" * 5000,
    "x = 0x" + "f" * 5000,
    "x = 9223372036854775808",
    "x = 1979-13-40",
    "\0",
    "roots = 5",
    "roots = {a = 1}",
    "model = ",
    'name = "x"\nversion = 1\n[[task]]\ncodec = "jpeg"\nlevels = [[1]]',
    'name = "x"\nversion = 1\n[[task]]\ncodec = "jpeg"\nlevels = [{}]',
    'name = "x"\nversion = 1\n[[task]]\ncodec = {}\nlevels = [1]',
    'name = "x"\nversion = 1\n[[task]]\ncodec = "jpeg"\nlevels = [1]\nkind = []',
    'name = "x"\nversion = 1\n[[task]]\ncodec = "jpeg"\nlevels = [1]\nsettings = {encoder = []}',
    'name = "x"\nversion = 1\n[[exception]]\nsets = [[]]\ncodec = "jpeg"\nlevels = [1]',
    'title = "x"\nsource = "x"\nlicence = "x"\nsplit = 5',
    'title = "x"\nsource = "x"\nlicence = "x"\nsplit = [5]',
    'title = "x"\nsource = "x"\nlicence = "x"\nphoto = [{}]',
    'title = "x"\nsource = "x"\nlicence = "x"\n[[split]]\nname = "test"\nimages = 5',
    '[[split]]\nname = "test"\nimages = "{1..99999999999}"',
]


@pytest.mark.parametrize("text", _TOML, ids=range(len(_TOML)))
def test_toml_of_another_form_is_one_sentence(text, tmp_path) -> None:
    path = tmp_path / "x.toml"
    for name in ("x.toml", "roots.toml", "checkpoint.toml"):
        (tmp_path / name).write_text(text)
    assert str(path) in sentence(lambda: recipe.load(str(path)))
    assert str(path) in sentence(lambda: sets.load("x", tmp_path))
    assert "roots.toml" in sentence(lambda: roots.read(tmp_path)) or "roots" not in text
    assert "checkpoint.toml" in sentence(lambda: checkpoints.model_of(tmp_path))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="[]{}=\"'\\,.#\n 0x9ae-_:+\0é", max_size=60))
def test_any_text_is_toml_or_one_sentence(text: str) -> None:
    sentence(lambda: toml.loads(text))


def test_what_is_no_file_is_no_toml(tmp_path) -> None:
    (tmp_path / "roots.toml").mkdir()
    assert "not a regular file" in sentence(lambda: roots.read(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.toml").symlink_to("nowhere")
    assert checkpoints.newest_checkpoint(tmp_path) is None


# -- exports


@FEW
@given(data=st.data())
def test_a_damaged_shard_is_one_sentence_and_leaves_nothing(data, built, tmp_path_factory) -> None:
    shards = export(
        built, "webdataset", tmp_path_factory.mktemp("x") / "s", content="bitstream"
    ).out
    path = next(shards.glob("*.tar"))
    path.write_bytes(damage(data, path.read_bytes()[:6000]))
    assert sentence(lambda: import_(shards, shards.parent / "out"))
    assert [one.name for one in shards.parent.iterdir()] == ["s"]


@pytest.mark.parametrize(
    "headers", [{"size": "-512"}, {"GNU.sparse.map": "0,x"}, {"GNU.sparse.size": "x"}]
)
def test_tar_headers_that_lead_astray_are_one_sentence(headers, built, tmp_path) -> None:
    shards = export(built, "webdataset", tmp_path / "shards", content="bitstream").out
    with tarfile.open(next(shards.glob("*.tar")), "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.jpeg-qf10.jpg")
        info.size, info.pax_headers = 3, headers
        tar.addfile(info, io.BytesIO(b"abc"))
    assert "all-000000.tar" in sentence(lambda: import_(shards, tmp_path / "out"))
