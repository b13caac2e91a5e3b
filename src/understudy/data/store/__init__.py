"""A packed store: images decoded once, as plain bytes that are mapped into memory.

A store is a directory: ``store.json`` (what it holds and in which form), shards of pixels, ``index.parquet``
(which image lies where, and the content hash of its file), and ``unreadable.csv`` where there are such files.
"""

from __future__ import annotations

from understudy.data.store.form import Form, parse_size
from understudy.data.store.opening import Store
from understudy.data.store.packing import pack
from understudy.data.store.places import default_place
from understudy.data.store.using import packed_pixels

__all__ = ["Form", "Store", "default_place", "pack", "packed_pixels", "parse_size"]
