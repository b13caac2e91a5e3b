"""The processes of a study: all of them end when they are sent home, and nobody else's."""

from __future__ import annotations

import multiprocessing
import time

from understudy.study.crew import Crew


def test_a_process_that_somebody_else_started_is_left_alone() -> None:
    stranger = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), daemon=True)
    stranger.start()
    try:
        crew = Crew(1, named=True)
        crew.pool().submit(abs, -1).result()
        (ours,) = set(multiprocessing.active_children()) - {stranger}
        crew.dismiss()
        assert not ours.is_alive()
        assert stranger.is_alive()
    finally:
        stranger.kill()
