"""What an ONNX file takes and gives, and how onnxruntime computes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from understudy.errors import UserError

_NUMBERS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class Graph:
    """An opened file with one input of images.

    Args:
        path: The file.
        session: onnxruntime's session of it.

    Attributes:
        path: The same.
        channels: 1 or 3.
        size: Height and width of an image; None: any.
        batch: How many images it takes at a time; None: any number.
        metadata: What the file says about itself.
    """

    def __init__(self, path: Path, session: Any) -> None:
        self.path = path
        self._session = session
        self._provider = "cpu"
        inputs = session.get_inputs()
        where = f"the ONNX file {str(path)!r}"
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            found = ", ".join(f"{one.name} {one.shape}" for one in inputs)
            raise UserError(f"{where} must have one input of images, (n, channels, H, W), and has {found}")
        if inputs[0].type not in _NUMBERS:
            raise UserError(
                f"{where} takes {inputs[0].type}: export it with an input of floating-point numbers"
            )
        shape = [side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape]
        self._last = shape[1] not in (1, 3) and shape[3] in (1, 3)
        channels = shape[3] if self._last else shape[1]
        if channels not in (1, 3):
            raise UserError(f"{where} takes images of {inputs[0].shape}: 1 or 3 channels are needed")
        self._input, self._type = inputs[0].name, _NUMBERS[inputs[0].type]
        self.channels = channels
        height, width = shape[1:3] if self._last else shape[2:]
        self.size = None if height is None or width is None else (height, width)
        self.batch = shape[0]
        self.metadata: dict[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        self._shapes = {one.name: one.shape for one in session.get_outputs()}

    def choose(self, wanted: str | None, where: str) -> str:
        """The output that is the embedding: the one that is wanted, else the only one, or ``embedding``.

        Raises:
            UserError: There is none of that name, or nothing says which.
        """
        names = list(self._shapes)
        chosen = wanted or (names[0] if len(names) == 1 else "embedding")
        if chosen not in names:
            known = ", ".join(names)
            raise UserError(f"{where}: say which output holds the vectors with ?output=, one of {known}")
        return chosen

    def width(self, output: str) -> int | None:
        """How many numbers an output has for an image, where the file says it."""
        sides = [side for side in self._shapes[output][1:] if side != 1]
        if len(self._shapes[output]) > 1 and not sides:
            return 1
        return sides[0] if len(sides) == 1 and isinstance(sides[0], int) else None

    def run(self, images: np.ndarray, outputs: Sequence[str]) -> list[np.ndarray]:
        """Computes some outputs of (n, channels, H, W) images.

        Raises:
            UserError: onnxruntime cannot.
        """
        fed = images.transpose(0, 2, 3, 1) if self._last else images
        missing = [name for name in outputs if name not in self._shapes]
        if missing:
            raise UserError(f"the ONNX file {str(self.path)!r} has no output {missing[0]!r}")
        try:
            fed = np.ascontiguousarray(fed, dtype=self._type)
            given: list[np.ndarray] = self._session.run(list(outputs), {self._input: fed})
        except Exception as error:  # onnxruntime's own kinds have no common parent
            raise UserError(
                f"the ONNX file {str(self.path)!r} cannot be computed ({_first_line(error)}): "
                "export it again, with a batch size that may vary"
            ) from error
        return given

    def place(self, device: str) -> None:
        """Computes on ``cuda`` where this build of onnxruntime can, else on the CPU."""
        if device != self._provider:
            self._provider = device
            self._session = _session(self.path, device)


def open_graph(path: Path) -> Graph:
    """Opens a file.

    Raises:
        UserError: It is missing or no ONNX file, has not one input of images, or onnxruntime is missing.
    """
    if not path.is_file():
        raise UserError(f"there is no ONNX file {str(path)!r}: check its place")
    return Graph(path, _session(path, "cpu"))


def _session(path: Path, device: str) -> Any:
    try:
        import onnxruntime as ort
    except ImportError:
        raise UserError(
            "teachers of kind 'onnx:' need onnxruntime: pip install \"understudy[onnx]\""
        ) from None
    providers = ["CPUExecutionProvider"]
    if device == "cuda" and "CUDAExecutionProvider" in ort.get_available_providers():
        providers.insert(0, "CUDAExecutionProvider")
    options = ort.SessionOptions()
    options.log_severity_level = 3  # errors are said in our words
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own kinds have no common parent
        raise UserError(
            f"{str(path)!r} is no ONNX file that can be read ({_first_line(error)}): export it again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
