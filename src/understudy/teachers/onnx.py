"""An ONNX file as a teacher: ``onnx:FILE?input_size=224x224&mean=…&std=…``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from understudy.data.preprocessing import Preprocessing
from understudy.errors import UserError
from understudy.teachers.asked import AskedTeacher
from understudy.teachers.onnx_graph import Graph, open_graph
from understudy.teachers.settings import numbers, pair, parsed, truth

METADATA = "understudy"
"""The key of a file's metadata under which a JSON object may say what `SETTINGS` say, and ``classes``."""

SETTINGS: dict[str, Any] = {
    "input_size": pair,
    "resize": pair,
    "mode": str,
    "interpolation": str,
    "mean": numbers,
    "std": numbers,
    "output": str,
    "normalize": truth,
}


class OnnxTeacher(AskedTeacher):
    """A network that onnxruntime computes, on the CPU or, where its build can, on a CUDA device.

    Files of a fixed batch size are asked about so many images at a time, the last ones filled up with copies
    whose answers are thrown away.

    Args:
        graph: The opened file.
        preprocessing: How images become its input.
        output: The name of the output that is the embedding.
        normalize: Divide every vector by its length.
        classes: Names of the classes of its output ``logits``.
        name: What to call it.
    """

    def __init__(
        self,
        graph: Graph,
        preprocessing: Preprocessing,
        *,
        output: str,
        normalize: bool = False,
        classes: Sequence[str] | None = None,
        name: str,
    ) -> None:
        super().__init__(
            name,
            preprocessing,
            dim=graph.width(output),
            classes=classes,
            normalised=True if normalize else None,
        )
        self.graph = graph
        self.output = output
        self.normalize = normalize

    def answer(self, shown: Tensor) -> Mapping[str, Any]:
        """The outputs that are wanted, of as many images at a time as the file takes."""
        images = shown.cpu().numpy()
        wanted = {name: self.output if name == "embedding" else name for name in sorted(self.supplies)}
        size = self.graph.batch or max(1, len(images))
        parts: list[list[np.ndarray]] = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            missing = size - len(part) if self.graph.batch else 0
            filled = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
            given = self.graph.run(filled, list(wanted.values()))
            parts.append([output[: len(part)] for output in given])
        answers = {
            name: torch.from_numpy(np.concatenate([part[place] for part in parts]).astype(np.float32))
            for place, name in enumerate(wanted)
        }
        if self.normalize:
            answers["embedding"] = F.normalize(answers["embedding"].flatten(1), dim=1)
        return answers

    def to(self, device: torch.device | str) -> Self:
        """Computes there from now on, if onnxruntime can."""
        self.graph.place(torch.device(device).type)
        return super().to(device)


def open_onnx(file: str, settings: Mapping[str, str]) -> OnnxTeacher:
    """Opens a file, with what it says about its input and what the settings say instead.

    Args:
        file: Its path.
        settings: See `SETTINGS`; ``mean`` and ``std`` are those of values from 0 to 1.

    Raises:
        UserError: It is no ONNX file of one image input, or nothing says how images become that input.
    """
    where = f"teacher 'onnx:{file}'"
    said = parsed(where, settings, SETTINGS)
    graph = open_graph(Path(file))
    known = {**_metadata(graph, where), **said}
    classes = known.pop("classes", None)
    output, normalize = known.pop("output", None), known.pop("normalize", False)
    return OnnxTeacher(
        graph,
        _preprocessing(known, graph, where),
        output=graph.choose(output, where),
        normalize=normalize,
        classes=classes,
        name=Path(file).stem,
    )


def _metadata(graph: Graph, where: str) -> dict[str, Any]:
    text = graph.metadata.get(METADATA)
    if text is None:
        return {}
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not set(said) <= {*SETTINGS, "classes"}:
        raise UserError(
            f"{where}: its metadata {METADATA!r} must be a JSON object of {', '.join(SETTINGS)} and classes"
        )
    # What is written as a setting is read as one: the text "false" is no truth.
    texts = {key: value for key, value in said.items() if key in SETTINGS and isinstance(value, str)}
    said |= parsed(f"{where}: its metadata {METADATA!r}", texts, SETTINGS)
    if not isinstance(said.get("normalize", False), bool):
        raise UserError(
            f"{where}: its metadata {METADATA!r}: normalize = {said['normalize']!r} does not fit: write true "
            "or false"
        )
    return said


def _preprocessing(known: Mapping[str, Any], graph: Graph, where: str) -> Preprocessing:
    values = dict(known)
    size = values.pop("input_size", None) or graph.size
    if size is None:
        raise UserError(f"{where} takes images of any size: say which with ?input_size=224x224")
    missing = [key for key in ("mean", "std") if key not in values]
    if missing:
        one, many = ("0.5", "0.5") if graph.channels == 1 else ("0.485,0.456,0.406", "0.229,0.224,0.225")
        raise UserError(
            f"{where} does not say how images become its input: add "
            + "&".join({"mean": f"mean={one}", "std": f"std={many}"}[key] for key in missing)
            + " or what it was trained with (mean 0 and std 1 leave values from 0 to 1 as they are)"
        )
    try:
        pre = Preprocessing.model_validate(
            {"size": size, "resize": size, "channels": graph.channels, **values}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"{where}: {'.'.join(map(str, first['loc'])) or 'its input'} does not fit ({first['msg']})"
        ) from error
    if graph.size not in (None, pre.size):
        raise UserError(f"{where} takes images of {graph.size} only and was to be given {pre.size}")
    return pre
