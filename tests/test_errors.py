from understudy.errors import UserError, suggest, unknown


def test_a_near_name_is_suggested() -> None:
    assert suggest("soft_darkrnk", ["soft_darkrank", "hard_darkrank"]) == "did you mean 'soft_darkrank'?"


def test_all_names_are_listed_when_none_is_near() -> None:
    assert suggest("x", ["beta", "alpha"]) == "known are alpha, beta"


def test_unknown_is_a_user_error_with_one_sentence() -> None:
    error = unknown("backbone", "resnet5O", ["resnet50", "vit"])
    assert isinstance(error, UserError)
    assert str(error) == "there is no backbone named 'resnet5O': did you mean 'resnet50'?"
