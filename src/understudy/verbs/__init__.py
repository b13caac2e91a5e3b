"""The few verbs a user needs: distill, train, embed, evaluate, import_table (and load, of the models)."""

from understudy.verbs.embedding import embed
from understudy.verbs.importing import import_table
from understudy.verbs.learning import distill, train
from understudy.verbs.measuring import evaluate

__all__ = ["distill", "embed", "evaluate", "import_table", "train"]
