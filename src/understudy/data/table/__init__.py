"""Embedding tables: the stored answers of a teacher, read by row number."""

from understudy.data.table.memory import write_table
from understudy.data.table.plan import TablePlan
from understudy.data.table.table import Table
from understudy.data.table.writing import TableWriter

__all__ = ["Table", "TablePlan", "TableWriter", "write_table"]
