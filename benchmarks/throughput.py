"""Images a second of training, beside the ceiling that the networks alone set in the same run.

    python benchmarks/throughput.py [--device cuda|cpu] [--only 'batch 128'] [--merge EARLIER.json]

(a) The ceiling: forward, backward and update of the bare student on a rendered batch that lies on the device,
the fastest of as it is, compiled, and recorded as a CUDA graph or, on a CPU, with freed memory kept. (b) The
package's loop on labels, with random crops and flips of decoded images. (c) With a live teacher on the same
views, against the ceiling with the teacher's forward pass in it. (d) With a table of the teacher's answers.
(e) A plain loop with a DataLoader
that decodes JPEGs, PIL transforms and no mixed precision. And what S2SD adds to a step. On a GPU in bf16
autocast and channels-last.

Lines are written as they are measured; `--merge` takes over what an earlier file has, so that a long table
can be measured in several runs. Several GPUs: `torchrun --nproc-per-node 2 benchmarks/throughput.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

try:
    import understudy  # noqa: F401
except ModuleNotFoundError:  # a checkout on a machine where the package is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _throughput_grid import Grid
from _throughput_plain import files_group
from _throughput_prepare import prepare
from _throughput_s2sd import s2sd_group
from _throughput_setting import Setting
from _throughput_several import Several
from _throughput_sheet import Group, Sheet

from understudy.training.processes import distributed

NOTES = (
    "Images/s; medians of a few rounds after one to warm up. Images are noise that lies decoded on the "
    "device, a seventh larger than what the networks see; AdamW, multi-similarity, and with a teacher "
    "similarity KL; embeddings of 128 dimensions, four images a class. The ceiling is the fastest of the "
    "ways that it was tried in; with a teacher these are the recorded one and what was fastest without. "
    "Memory is the most that PyTorch held, the images included; on a CPU the process's own."
)
STUDENTS = ["mobilenetv3_small_050", "resnet18", "efficientnet_lite0"]
TEACHERS = ["tf_efficientnet_lite2", "resnet50"]
SIZES = [(224, 224), (256, 128)]


def main() -> None:
    world, rank = distributed.started(), int(os.environ.get("RANK") or 0)
    arguments = parsed(several=world > 1)
    cuda = arguments.device == "cuda"
    device = torch.device("cuda", distributed.local_rank()) if cuda else torch.device("cpu")
    torch._dynamo.config.recompile_limit = 64  # noqa: SLF001 (many networks run through the same functions)
    if cuda:
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    machine = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} CPU threads"
    machine = f"{world} × {machine}" if world > 1 else machine
    sheet = Sheet(
        arguments.out,
        f"Training on {machine}, torch {torch.__version__}",
        {"machine": machine, "torch": torch.__version__, "notes": NOTES},
        NOTES,
        writes=rank == 0,
        stops=world > 1,
    )
    settings = [
        Setting(
            student,
            batch,
            size,
            device,
            arguments.seconds,
            arguments.images,
            arguments.rounds,
            arguments.compile,
        )
        for size in arguments.sizes
        for batch in arguments.batches
        for student in arguments.students
    ]
    if rank == 0 and arguments.compile and arguments.compile_jobs:
        prepare(Path(__file__), arguments, arguments.compile_jobs)
    if world > 1:
        several = Several(settings, arguments.teachers, world=world, first=rank == 0)
        with distributed.launched():
            sheet.run(several.groups())
        return
    if arguments.merge is not None:
        sheet.merge(arguments.merge)
    mine, of = arguments.share
    settings = settings[mine::of]
    turn = mine % len(arguments.teachers)  # side by side, processes do not begin with one teacher
    arguments.teachers = arguments.teachers[turn:] + arguments.teachers[:turn]
    sheet.run(groups(arguments, settings), only=arguments.only, until=arguments.until)


def groups(arguments: argparse.Namespace, settings: list[Setting]) -> Iterator[Group]:
    """What there is to measure with one process, in order."""
    if "grid" in arguments.parts:
        yield from Grid().groups(settings, arguments.teachers)
    if "files" in arguments.parts:
        yield files_group(settings[0], arguments.files, arguments.workers)
    if "s2sd" in arguments.parts:
        yield s2sd_group(next((one for one in settings if one.student == "resnet18"), settings[0]))


def parsed(*, several: bool) -> argparse.Namespace:
    """The command's arguments, those that depend on others filled in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--out", type=Path, help="JSON file; a page is written beside it")
    parser.add_argument("--merge", type=Path, help="a file of an earlier run whose groups are taken over")
    parser.add_argument("--only", default="", help="a regular expression that groups' names must match")
    parser.add_argument("--until", type=float, help="begin no group after so many seconds")
    parser.add_argument("--parts", type=_words, help="grid, files, s2sd")
    parser.add_argument("--students", type=_words)
    parser.add_argument("--teachers", type=_words)
    parser.add_argument("--batches", type=lambda text: [int(word) for word in _words(text)])
    parser.add_argument("--sizes", type=_sizes, help="224x224,256x128")
    parser.add_argument("--seconds", type=float, help="length of a round")
    parser.add_argument("--rounds", type=int, help="rounds of a measurement")
    parser.add_argument("--images", type=int, default=16_384, help="images on the device, at most")
    parser.add_argument("--files", type=int, default=2048, help="JPEGs of row (e)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that decode in (e)"
    )
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="try no torch.compile")
    parser.add_argument(
        "--compile-jobs", type=int, default=0, help="fill the compiler's cache with so many processes first"
    )
    parser.add_argument("--share", type=_share, default=(0, 1), help="1/4: every fourth, from the second on")
    arguments = parser.parse_args()
    cuda = arguments.device == "cuda"
    arguments.out = arguments.out or Path(
        f"benchmarks/results/throughput-{arguments.device}{'-several' if several else ''}.json"
    )
    arguments.parts = arguments.parts or (["grid", "files", "s2sd"] if cuda else ["grid"])
    arguments.students = arguments.students or (STUDENTS[: 2 if several else 3] if cuda else ["smallconv_16"])
    arguments.teachers = arguments.teachers or (TEACHERS if cuda else ["smallconv_64"])
    # other programs change a processor's speed: short rounds, and many
    arguments.seconds = arguments.seconds or (0.4 if cuda else 0.2)
    arguments.rounds = arguments.rounds or (3 if cuda else 49)
    arguments.batches = arguments.batches or ([128, 64, 512] if cuda and not several else [128])
    arguments.sizes = arguments.sizes or (SIZES[: 1 if several else 2] if cuda else [(40, 40)])
    return arguments


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _share(text: str) -> tuple[int, int]:
    mine, of = text.split("/")
    return int(mine), int(of)


def _sizes(text: str) -> list[tuple[int, int]]:
    return [(int(height), int(width)) for height, width in (word.split("x") for word in _words(text))]


if __name__ == "__main__":
    main()
