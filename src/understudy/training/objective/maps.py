"""Feature maps that losses compare: how wide they are, and who is asked for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from understudy.config import LossConfig
from understudy.errors import UserError
from understudy.models.embedder import Embedder
from understudy.teachers import LiveTeacher, Teacher
from understudy.training.objective.s2sd import FEATURE_MAP, S2SDTerm
from understudy.training.objective.terms import MapsTerm, Term


def compared(item: LossConfig, student: Embedder, teacher: Teacher) -> tuple[int, int]:
    """How many channels the student's and the teacher's layer of a loss on maps have.

    Raises:
        UserError: The loss names no layers, or one that does not exist or gives no map.
    """
    if item.maps is None:
        raise UserError(
            f"the loss {item.name!r} compares feature maps: set its `maps` to "
            "[layer of the student, layer of the teacher]"
        )
    model = getattr(teacher, "model", None)
    assert isinstance(model, Embedder), "only a live model supplies maps"
    return channels(student, item.maps[0]), channels(model, item.maps[1])


def channels(model: Embedder, layer: str) -> int:
    """How many channels a layer's output has, found by running one image through."""
    model.request_maps([layer])
    training = model.training
    model.eval()
    pre = model.preprocessing
    with torch.no_grad():
        image = torch.zeros(1, pre.channels, *pre.size, device=next(model.parameters()).device)
        captured = model(image)["maps"].get(layer)
    model.train(training)
    if captured is None or captured.ndim != 4:
        raise UserError(f"the layer {layer!r} gives no feature map (n, C, H, W): choose a convolutional one")
    channels: int = captured.shape[1]
    return channels


def request_maps(terms: Sequence[Term], student: Embedder, teachers: Mapping[str, Teacher]) -> None:
    """Asks the models for exactly the maps that the terms compare."""
    mine: set[str] = set()
    theirs: dict[str, set[str]] = {}
    for term in terms:
        if isinstance(term, MapsTerm):
            mine.add(term.maps[0])
            theirs.setdefault(term.teacher, set()).add(term.maps[1])
        elif isinstance(term, S2SDTerm) and term.pool is not None:
            mine.add(FEATURE_MAP)
    student.request_maps(sorted(mine))
    for name, teacher in teachers.items():
        if isinstance(teacher, LiveTeacher):  # all of them: a run before may have asked the same teacher
            teacher.request_maps(sorted(theirs.get(name, ())))
