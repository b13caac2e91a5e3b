"""The few verbs a user needs: distill, train, embed, evaluate (and load, of the models)."""

from understudy.verbs.embedding import embed
from understudy.verbs.learning import distill, train
from understudy.verbs.measuring import evaluate

__all__ = ["distill", "embed", "evaluate", "train"]
