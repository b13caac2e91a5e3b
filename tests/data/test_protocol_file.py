"""What lies beside a manifest: graded relevance and other splits, checked against it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.data.dataset import open_dataset
from understudy.data.manifest import Manifest
from understudy.data.protocol import (
    RELEVANCES,
    Protocol,
    divided,
    protocol_path,
    read_protocol,
    split_path,
    with_split,
    write_protocol,
    write_split,
)
from understudy.errors import UserError

PAIRS = [("q1", "a", "easy"), ("q1", "b", "hard"), ("q2", "a", "junk"), ("q2", "c", "positive")]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    Manifest.of_paths(tmp_path, ["a", "b", "c", "q1", "q2"]).save(tmp_path / "m.csv")
    return tmp_path / "m.csv"


def test_a_protocol_comes_back_as_it_was_written(saved: Path) -> None:
    assert read_protocol(saved) is None
    write_protocol(Protocol.of(PAIRS), saved)
    assert protocol_path(saved).name == "m.protocol.parquet"
    protocol = read_protocol(saved)
    assert protocol is not None
    assert len(protocol) == 4
    columns = (protocol.query_ids, protocol.gallery_ids, protocol.relevance)
    assert list(zip(*columns, strict=True)) == PAIRS
    assert (protocol.relevance == "easy").tolist() == [True, False, False, False]
    queries, gallery, codes = protocol.rows(open_dataset(saved).manifest)
    assert queries.dtype == np.int64
    assert queries.tolist() == [3, 3, 4, 4]
    assert gallery.tolist() == [0, 1, 0, 2]
    assert [RELEVANCES[code] for code in codes] == ["easy", "hard", "junk", "positive"]
    opened = open_dataset(saved).protocol
    assert opened is not None
    assert opened.gallery_ids.tolist() == ["a", "b", "a", "c"]


def test_an_empty_protocol_is_one(saved: Path) -> None:
    write_protocol(Protocol.of([]), saved)
    protocol = read_protocol(saved)
    assert protocol is not None
    assert len(protocol) == 0
    assert [len(rows) for rows in protocol.rows(open_dataset(saved).manifest)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("q3", "a", "easy"), "the query id 'q3' is not in the manifest: prepare the data set again"),
        (("q1", "d", "easy"), "the gallery id 'd' is not in the manifest: prepare the data set again"),
        (("q1", "a", "fair"), "the relevance 'fair' is none of positive, easy, hard, junk: correct it"),
    ],
)
def test_a_protocol_of_another_manifest_is_refused(
    saved: Path, pair: tuple[str, str, str], words: str
) -> None:
    write_protocol(Protocol.of([*PAIRS, pair]), saved)
    with pytest.raises(UserError, match=f"{re.escape(repr(str(protocol_path(saved))))}: {words}$"):
        open_dataset(saved)


def test_a_file_that_is_no_protocol_is_named(saved: Path) -> None:
    protocol_path(saved).write_bytes(b"PAR1, so to speak")
    with pytest.raises(UserError, match=r"m.protocol.parquet' is not a Parquet file that can be read"):
        open_dataset(saved)
    pq.write_table(pa.table({"query_id": ["q1"], "gallery_id": ["a"]}), protocol_path(saved))
    with pytest.raises(UserError, match=r"m.protocol.parquet' has no column 'relevance'"):
        open_dataset(saved)


def test_another_split_of_the_same_items(saved: Path) -> None:
    manifest = open_dataset(saved).manifest
    write_split({"q2": "query", "a": "gallery", "b": ""}, saved, "detected-01")
    assert split_path(saved, "detected-01").relative_to(saved.parent).parts == (
        "m.splits",
        "detected-01.parquet",
    )
    other = with_split(manifest, saved, "detected-01")
    assert other.splits == ("gallery", "", "", "", "query")
    assert other.ids == manifest.ids
    assert manifest.splits == ("train",) * 5
    assert open_dataset(saved, split_name="detected-01").manifest.splits == other.splits


def test_a_split_that_is_not_there_names_the_nearest(saved: Path) -> None:
    manifest = open_dataset(saved).manifest
    with pytest.raises(UserError, match="no split named 'x': it has none, leave the name out"):
        with_split(manifest, saved, "x")
    write_split({}, saved, "labelled-20")
    with pytest.raises(UserError, match=r"no split named 'labeled-20': did you mean 'labelled-20'\?"):
        with_split(manifest, saved, "labeled-20")


def test_a_split_of_another_manifest_is_refused(saved: Path) -> None:
    manifest = open_dataset(saved).manifest
    write_split({"z": "train"}, saved, "odd")
    with pytest.raises(UserError, match=r"odd.parquet': the id 'z' is not in the manifest: prepare"):
        with_split(manifest, saved, "odd")
    write_split({"a": "trian"}, saved, "odd")
    with pytest.raises(UserError, match=r"odd.parquet': 'trian' is not a split: did you mean 'train'\?"):
        with_split(manifest, saved, "odd")
    with pytest.raises(UserError, match="here: 'trian' is not a split"):
        divided(manifest, {"a": "trian"}, where="here")
