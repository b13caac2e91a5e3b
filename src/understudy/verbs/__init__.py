"""The few verbs a user needs: distill, train, embed, evaluate (and load, of the models)."""

from understudy.verbs.learning import distill, train
from understudy.verbs.measuring import embed, evaluate

__all__ = ["distill", "embed", "evaluate", "train"]
