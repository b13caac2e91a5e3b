"""Tables as teachers: joined once by id, refused when they do not fit, asked about the views they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data import Augmentation, Dataset, open_dataset
from understudy.data.items import Items
from understudy.data.table import Table, TablePlan, TableWriter, write_table
from understudy.data.table.content import content_hashes
from understudy.data.views import Views
from understudy.errors import UserError
from understudy.models import build_embedder
from understudy.teachers import LiveTeacher, TableTeacher, Teacher, joined, open_teacher
from understudy.teachers.joining import check_view, judges, shared_views

NAMES = ["d.png", "a.png", "c.png", "b.png"]
FLIPS = Augmentation(flip=0.5, rotate=10, num_views=3)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six images in a folder, rows in the order of their names."""
    folder = tmp_path / "images"
    folder.mkdir()
    for place, name in enumerate("abcdef"):
        Image.new("RGB", (8, 8), (40 * place, 0, 0)).save(folder / f"{name}.png")
    return open_dataset(folder)


def stored(place: Path, names: Sequence[str] = NAMES, hashes: Sequence[str] | None = None) -> Table:
    vectors = np.stack([np.full(3, 1.0 + ord(name[0]) - ord("a"), dtype=np.float32) for name in names])
    return write_table(place, vectors, list(names), metadata={"teacher": "vit"}, hashes=hashes)


def with_views(place: Path, ids: Sequence[str], rows: Sequence[int], views: int = 3) -> Table:
    """View v of the image in row r is (r + 1, v + 1)."""
    recipe = FLIPS.model_copy(update={"num_views": views})
    plan = TablePlan("vit", num_views=views, recipe=recipe.model_dump(mode="json"), view_seed=5)
    vectors = [[row + 1, view + 1] for row in rows for view in range(views)]
    with TableWriter.open(place, ids, plan=plan, rows=list(rows)) as writer:
        writer.write(0, np.array(vectors, dtype=np.float32))
        return writer.finish()


def table_teacher(reference: object, dataset: Dataset, rows: Sequence[int]) -> TableTeacher:
    teacher = joined(open_teacher(f"table:{reference}"), dataset, np.array(rows))
    assert isinstance(teacher, TableTeacher)
    return teacher


def test_each_image_has_its_own_vector(tmp_path: Path, dataset: Dataset) -> None:
    stored(tmp_path / "vit")
    teacher = table_teacher(tmp_path / "vit", dataset, [0, 1, 2, 3])
    assert isinstance(teacher, Teacher)
    given = teacher.embed(Items(torch.tensor([3, 0, 0, 2]), None))
    assert given[:, 0].tolist() == [4, 1, 1, 3]
    assert (teacher.name, teacher.dim, teacher.view, teacher.queries) == ("vit", 3, "clean", 0)
    assert teacher.supplies == {"embedding"}
    assert not teacher.normalised


def test_rows_that_are_not_learnt_from_may_lack(tmp_path: Path, dataset: Dataset) -> None:
    stored(tmp_path / "vit")
    teacher = table_teacher(tmp_path / "vit", dataset, [0, 3])
    assert judges(teacher, np.array([0, 1, 2, 3]))
    assert not judges(teacher, np.array([0, 4]))
    with pytest.raises(UserError, match=r"1 of 2 ids are not in the embedding table .* \('e\.png'\)"):
        teacher.embed(Items(torch.tensor([0, 4]), None))


def test_rows_that_are_learnt_from_may_not(tmp_path: Path, dataset: Dataset) -> None:
    stored(tmp_path / "vit")
    with pytest.raises(UserError, match=r"2 of 6 ids are not in .* \('e\.png', 'f\.png'\)"):
        table_teacher(tmp_path / "vit", dataset, range(6))


def test_images_that_changed_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    hashes = content_hashes(dataset, [3, 0, 2, 1])
    stored(tmp_path / "vit", hashes=hashes)
    table_teacher(tmp_path / "vit", dataset, [0, 1, 2, 3])
    Image.new("RGB", (8, 8), "white").save(dataset.manifest.path(2))
    table_teacher(tmp_path / "vit", dataset, [0, 1, 3])  # it is not used
    with pytest.raises(UserError, match=r"c\.png"):
        table_teacher(tmp_path / "vit", dataset, [0, 1, 2, 3])


def test_a_table_that_is_not_joined_cannot_be_asked(tmp_path: Path) -> None:
    teacher = TableTeacher(stored(tmp_path / "vit"))
    with pytest.raises(ValueError, match="must be joined to a manifest"):
        teacher.embed(Items(torch.tensor([0]), None))


def test_logits_and_classes(tmp_path: Path, dataset: Dataset) -> None:
    plan = TablePlan("vit", classes=("owl", "wren"))
    with TableWriter.open(tmp_path / "vit", NAMES, plan=plan) as writer:
        writer.write(0, np.eye(4, dtype=np.float32), np.arange(8, dtype=np.float32).reshape(4, 2))
        writer.finish()
    teacher = table_teacher(tmp_path / "vit", dataset, [0, 3])
    assert teacher.classes == ("owl", "wren")
    assert teacher.outputs(Items(torch.tensor([3, 0]), None))["logits"].tolist() == [[0, 1], [2, 3]]


def test_views_are_the_very_ones_that_were_stored(tmp_path: Path, dataset: Dataset) -> None:
    with_views(tmp_path / "vit", dataset.manifest.ids, range(6))
    teacher = table_teacher(tmp_path / "vit", dataset, range(6))
    assert teacher.view == "same"
    rows = torch.tensor([4, 1, 4])
    items = Items(rows, None, Views(FLIPS, 5, rows, torch.tensor([2, 0, 7])))
    assert teacher.embed(items).tolist() == [[5, 3], [2, 1], [5, 2]]
    assert not judges(teacher, np.arange(6))  # nothing is said about clean images


def test_a_run_that_says_nothing_takes_the_views_over(tmp_path: Path, dataset: Dataset) -> None:
    with_views(tmp_path / "vit", dataset.manifest.ids, range(6))
    rows = np.arange(6)
    teachers = {"main": table_teacher(tmp_path / "vit", dataset, rows.tolist())}
    manifest = dataset.manifest
    assert shared_views(teachers, None, None, manifest, rows) == (FLIPS, 5)
    fewer, any_number = (FLIPS.model_copy(update={"num_views": views}) for views in (2, None))
    assert shared_views(teachers, fewer, 5, manifest, rows) == (fewer, 5)
    assert shared_views(teachers, any_number, None, manifest, rows) == (FLIPS, 5)
    assert shared_views({}, None, None, manifest, rows) == (None, None)


@pytest.mark.parametrize(
    ("augmentation", "seed", "said"),
    [
        (FLIPS.model_copy(update={"rotate": 20.0}), None, r"'main' holds 3 views drawn with another augment"),
        (FLIPS.model_copy(update={"num_views": 4}), None, r"3 views drawn with another augment\.num_views"),
        (Augmentation(), None, r"another augment\.flip"),
        (None, 6, r"holds views of the seed 5 and view_seed is 6"),
    ],
)
def test_other_views_are_refused_by_name(
    tmp_path: Path, dataset: Dataset, augmentation: Augmentation | None, seed: int | None, said: str
) -> None:
    with_views(tmp_path / "vit", dataset.manifest.ids, range(6))
    teachers = {"main": table_teacher(tmp_path / "vit", dataset, range(6))}
    with pytest.raises(UserError, match=said):
        shared_views(teachers, augmentation, seed, dataset.manifest, np.arange(6))


def test_views_of_another_manifest_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    """A view follows from the image's row: where that is another, the student would see another crop."""
    with_views(tmp_path / "vit", dataset.manifest.ids, [0, 1, 2, 3, 5, 4])
    teachers = {"main": table_teacher(tmp_path / "vit", dataset, range(6))}
    shared_views(teachers, None, None, dataset.manifest, np.arange(4))
    with pytest.raises(UserError, match=r"views of 'e\.png' are those of row 5, here it is row 4"):
        shared_views(teachers, None, None, dataset.manifest, np.arange(6))


def test_images_that_nobody_could_read_have_no_views_to_compare(tmp_path: Path, dataset: Dataset) -> None:
    """A table leaves them out, and a run that skips them asks about its views before it has found them."""
    with_views(tmp_path / "vit", ["a.png", "c.png", "f.png"], [0, 2, 5])
    teachers = {"main": table_teacher(tmp_path / "vit", dataset, [0, 2, 5])}
    assert shared_views(teachers, None, None, dataset.manifest, np.arange(6)) == (FLIPS, 5)


def test_clean_tables_and_tables_of_views_are_not_mixed_up(tmp_path: Path, dataset: Dataset) -> None:
    stored(tmp_path / "clean")
    with_views(tmp_path / "views", dataset.manifest.ids, range(6))
    clean = table_teacher(tmp_path / "clean", dataset, [0])
    views = table_teacher(tmp_path / "views", dataset, [0])
    check_view(clean, "clean", FLIPS)
    check_view(clean, "same", Augmentation())
    check_view(views, "same", FLIPS)
    with pytest.raises(UserError, match="holds clean images only: set the teacher's `view` to clean"):
        check_view(clean, "same", FLIPS)
    with pytest.raises(UserError, match="holds views only: set the teacher's `view` to same"):
        check_view(views, "clean", FLIPS)


def test_other_teachers_are_joined_by_telling_them_names(dataset: Dataset) -> None:
    live = LiveTeacher(build_embedder("smallconv_8"))
    assert joined(live, dataset, np.arange(2)) is live
    assert judges(live, np.arange(6))
