"""Teachers that cost something: budgets, rates, failures now and then, failures always."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from torch import Tensor

from understudy.data.items import Items
from understudy.errors import UserError
from understudy.models import build_embedder
from understudy.teachers import CallableTeacher, LimitedTeacher, LiveTeacher, Spent, Teacher, open_teacher
from understudy.teachers.limited import LONGEST_WAIT


def images(count: int, start: int = 0) -> Items:
    """Image i is of one colour, i."""
    numbers = torch.arange(start, start + count)
    return Items(numbers, numbers.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous())


class Clock:
    """Time passes only by sleeping."""

    def __init__(self) -> None:
        self.now, self.slept = 100.0, list[float]()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Api:
    """Gives each image's number; fails as it is told."""

    input_size, dim = (4, 4), 2

    def __init__(
        self, fails: Any = lambda numbers, call: False, error: type[Exception] = RuntimeError
    ) -> None:
        self.calls: list[list[int]] = []
        self._fails, self._error = fails, error

    def __call__(self, pictures: Any) -> Tensor:
        numbers = [picture.getpixel((0, 0))[0] for picture in pictures]
        self.calls.append(numbers)
        if self._fails(numbers, len(self.calls)):
            raise self._error("try again")
        return torch.tensor([[number, 1.0] for number in numbers])


def limited(api: Api, clock: Clock | None = None, **limits: Any) -> LimitedTeacher:
    clock = clock or Clock()
    return LimitedTeacher(CallableTeacher(api, name="api"), clock=clock, sleep=clock.sleep, **limits)


def test_it_gives_what_the_teacher_gives() -> None:
    teacher = limited(Api())
    assert isinstance(teacher, Teacher)
    assert teacher.embed(images(3)).tolist() == [[0, 1], [1, 1], [2, 1]]
    assert (teacher.name, teacher.dim, teacher.queries, teacher.view) == ("api", 2, 3, "clean")


def test_a_budget_is_kept_to_the_image() -> None:
    api = Api()
    teacher = limited(api, budget=10)
    teacher.embed(images(6))
    teacher.embed(images(4))
    with pytest.raises(Spent, match=r"budget of 10 questions .*'api' is spent \(10 were asked and 1 more"):
        teacher.embed(images(1))
    assert sum(map(len, api.calls)) == 10


def test_an_account_can_be_gone_on_with() -> None:
    teacher = limited(Api(), budget=10)
    teacher.embed(images(6))
    teacher.spent = 0
    teacher.embed(images(8))
    teacher.spent = 9
    with pytest.raises(Spent):
        teacher.embed(images(2))


@pytest.mark.parametrize(("rate", "largest"), [(10.0, 10), (0.5, 1), (64.0, 25)])
def test_a_rate_is_kept_over_any_stretch_of_time(rate: float, largest: int) -> None:
    """25 images are asked about; none sooner than the rate allows, and no burst is larger than a second's."""
    clock, times = Clock(), list[tuple[float, int]]()
    api = Api(lambda numbers, call: times.append((clock.now, len(numbers))))
    limited(api, clock, rate=rate).embed(images(25))
    assert [count for _, count in times[:1]] == [largest]
    assert sum(count for _, count in times) == 25
    asked = 0
    for when, count in times:
        assert when >= 100.0 + asked / rate - 1e-9
        asked += count
    assert clock.now <= 100.0 + 25 / rate


def test_time_that_passes_by_itself_is_no_reason_to_wait() -> None:
    clock = Clock()
    teacher = limited(Api(), clock, rate=2.0)
    teacher.embed(images(1))
    clock.now += 5
    teacher.embed(images(1))
    assert clock.slept == []


def unlucky(number: int, call: int) -> bool:
    """One image in a hundred at each call, in a way that never changes."""
    return hashlib.blake2b(f"{number}, {call}".encode(), digest_size=4).digest()[0] * 100 < 256


@pytest.mark.parametrize("size", [1, 7, 64, 250])
def test_a_function_that_fails_on_one_image_in_a_hundred_is_got_through(size: int) -> None:
    api = Api(lambda numbers, call: any(unlucky(number, call) for number in numbers))
    teacher = limited(api, retries=3)
    given = torch.cat([teacher.embed(images(min(size, 250 - at), at)) for at in range(0, 250, size)])
    assert given[:, 0].tolist() == list(range(250))
    failed = teacher.queries - 250
    assert failed > 0, "nothing failed: the test tests nothing"
    assert sum(map(len, api.calls)) == teacher.queries


def test_an_image_that_always_fails_is_named() -> None:
    api = Api(lambda numbers, call: 37 in numbers)
    clock = Clock()
    teacher = limited(api, clock, retries=3)
    teacher.call_images([f"{number}.png" for number in range(64)])
    with pytest.raises(
        UserError, match=r"'api' failed on '37\.png' 4 times \(RuntimeError: try again, in test_"
    ):
        teacher.embed(images(64))
    assert [call for call in api.calls if len(call) == 1].count([37]) == 4


def test_waits_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    clock = Clock()
    api = Api(lambda numbers, call: call <= 7)
    limited(api, clock, retries=9).embed(images(1))
    assert clock.slept == [0.5, 1, 2, 4, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT]
    again = Clock()
    limited(Api(lambda numbers, call: call in (1, 3)), again, retries=9).embed(images(2))
    assert again.slept == [0.5, 0.5]


@pytest.mark.parametrize("error", [TypeError, AttributeError, NameError, ImportError])
def test_mistakes_in_the_program_are_not_repeated(error: type[Exception]) -> None:
    api = Api(lambda numbers, call: True, error)
    with pytest.raises(UserError, match=rf"failed on rows 0, 1 \({error.__name__}: try again"):
        limited(api, retries=3).embed(images(2))
    assert len(api.calls) == 1


def test_what_the_answers_lack_is_not_repeated_either() -> None:
    clock = Clock()
    teacher = LimitedTeacher(
        CallableTeacher(lambda pictures: [[float("nan")]] * len(pictures), name="api"),
        retries=3,
        clock=clock,
        sleep=clock.sleep,
    )
    with pytest.raises(UserError, match="gave NaN"):
        teacher.embed(images(2))
    assert teacher.queries == 2
    assert not clock.slept


def test_failures_count_for_the_budget() -> None:
    api = Api(lambda numbers, call: call == 1)
    with pytest.raises(Spent, match="6 were asked"):
        limited(api, budget=7, retries=3).embed(images(4))  # 4 failed, then 2, then 2 more are too many
    assert [len(call) for call in api.calls] == [4, 2]


def test_the_dimension_is_asked_for_again_too() -> None:
    class Silent(Api):
        dim = None  # type: ignore[assignment]

    api = Silent(lambda numbers, call: call <= 2)
    teacher = limited(api, retries=3)
    assert (teacher.dim, teacher.queries) == (2, 3)
    with pytest.raises(UserError, match="'api' failed on a grey image"):
        assert limited(Silent(lambda numbers, call: True), retries=3).dim


def test_a_model_with_a_budget() -> None:
    model = build_embedder({"backbone": "smallconv_8", "dim": 4}).eval()
    teacher = open_teacher(LiveTeacher(model), budget=3)
    assert isinstance(teacher, LimitedTeacher)
    assert not teacher.capturable
    assert teacher.supplies == {"embedding", "raw", "pooled"}
    items = images(3)
    torch.testing.assert_close(teacher.embed(items), model.embed(model.prepare(items)))
    with pytest.raises(Spent):
        teacher.outputs(items)


def test_only_functions_are_retried_by_themselves() -> None:
    assert isinstance(open_teacher("timm:smallconv_8?weights=random"), LiveTeacher)
    fixed = open_teacher("timm:smallconv_8?weights=random", rate=5.0)
    assert isinstance(fixed, LimitedTeacher)
    assert fixed.retries == 0
