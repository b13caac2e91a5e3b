"""Embedding on a Ray cluster: shards go to models in actors, and their answers come back to be written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from understudy.errors import UserError
from understudy.verbs.embedding_answers import Answerer, Answers
from understudy.verbs.embedding_job import EmbeddingJob


def answers_from_ray(
    job: EmbeddingJob,
    shards: Sequence[tuple[int, range]],
    *,
    workers: int | None = None,
    asked: Callable[[int], None] | None = None,
) -> Generator[tuple[int, Answers], None, None]:
    """Asks the teacher of a job about shards of items, in actors with a model each.

    A cluster that this process is connected to already is used, then the one that ``RAY_ADDRESS`` names, else
    one is started on this machine and stopped in the end. Answers travel as plain tensors and JSON and come
    in whatever order they are done, so that the process that asks can write each at once: a run that is
    killed loses what is under way. An actor that dies is started again by Ray and its shard asked about anew.
    Every machine must see the images and the model at the same paths; the table is written here alone.

    Args:
        job: What is asked.
        shards: Their numbers, each with the numbers of its items.
        workers: Actors; none: one for each GPU of the cluster, or one where none is used.
        asked: Told about how many images × views the teacher was asked, as the answers come in.

    Yields:
        A shard's number and the answers about its items.

    Raises:
        UserError: Ray is not installed, the cluster has no GPU for ``device="cuda"``, or an actor cannot open
            the model or the data.
    """
    if not shards:
        return
    ray = _ray()
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    try:
        gpus = 0 if job.device == "cpu" else int(ray.cluster_resources().get("GPU", 0))
        if not gpus and job.device.startswith("cuda"):
            raise UserError("the Ray cluster has no GPU: pass --device cpu, or add a machine that has one")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = False
        tasks = [{"shard": number, "start": items.start, "stop": items.stop} for number, items in shards]
        answered = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
            _Actor,
            fn_constructor_args=(job, str(Path.cwd())),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers or max(1, gpus), len(tasks))),
            num_gpus=1 if gpus else None,
            num_cpus=None if gpus else 1,
        )
        for row in answered.iter_rows():
            if row["error"]:
                raise UserError(row["error"])
            answers = unpack(row["content"])
            if asked is not None:
                asked(answers.asked)
            yield int(row["shard"]), answers
    finally:
        if started:
            ray.shutdown()


class _Actor:
    """A teacher inside Ray: a batch is one shard, and a mistake comes back as its sentence."""

    def __init__(self, job: EmbeddingJob, folder: str) -> None:
        if Path(folder).is_dir():  # references are relative to where the command was given
            os.chdir(folder)
        self._job = job
        self._answerer: Answerer | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        (shard,), (start,), (stop,) = batch["shard"], batch["start"], batch["stop"]
        content, error = b"", ""
        try:
            if (
                self._answerer is None
            ):  # not above: Ray would start an actor that cannot begin again and again
                self._answerer = Answerer(self._job)
            content = pack(self._answerer.answer(range(int(start), int(stop))))
        except UserError as mistake:
            error = str(mistake)
        return {"shard": [int(shard)], "content": [content], "error": [error]}


def pack(answers: Answers) -> bytes:
    """Answers as they travel: plain tensors and JSON, nothing that could run.

    Example:
        >>> nothing = np.empty((1, 2), np.int64)
        >>> answers = Answers(range(3, 4), np.ones((1, 2), np.float32), None, {}, ["ab"], nothing, 1)
        >>> back = unpack(pack(answers))
        >>> back.items, back.vectors.tolist(), back.hashes, back.asked
        (range(3, 4), [[1.0, 1.0]], ['ab'], 1)
    """
    notes = {
        "items": [answers.items.start, answers.items.stop],
        "reasons": sorted(answers.reasons.items()),
        "hashes": list(answers.hashes),
        "asked": answers.asked,
    }
    tensors = {"vectors": answers.vectors, "states": answers.states, "notes": _as_bytes(notes)}
    if answers.logits is not None:
        tensors["logits"] = answers.logits
    packed: bytes = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})
    return packed


def unpack(content: bytes) -> Answers:
    """The answers that `pack` packed."""
    tensors = load(content)
    notes = json.loads(tensors["notes"].tobytes())
    return Answers(
        range(*notes["items"]),
        tensors["vectors"],
        tensors.get("logits"),
        {int(item): str(reason) for item, reason in notes["reasons"]},
        notes["hashes"],
        tensors["states"],
        notes["asked"],
    )


def _as_bytes(notes: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(json.dumps(notes).encode(), dtype=np.uint8)


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ModuleNotFoundError:
        raise UserError('Ray is not installed: pip install "understudy[ray]"') from None
    return ray
