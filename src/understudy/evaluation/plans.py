"""Which images an evaluation looks at, by which protocol, and what counts as found."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from understudy.data import Dataset, Manifest
from understudy.data.protocol import RELEVANCES
from understudy.evaluation.inputs import Vectors as Array
from understudy.evaluation.metric_learning import metric_learning
from understudy.evaluation.query_gallery import query_gallery
from understudy.evaluation.reidentification import multi_queries, reidentification
from understudy.evaluation.report import Report
from understudy.evaluation.revisited import LEVELS, revisited
from understudy.evaluation.rows import Vectors
from understudy.evaluation.settings import Options
from understudy.evaluation.single_shot import single_gallery_shot


@dataclass(frozen=True)
class Plan:
    """What is measured on a data set.

    Attributes:
        protocol: One of `understudy.evaluation.choosing.PROTOCOLS` but ``auto``.
        dataset: The data set.
        split: The split of queries that are their own gallery; None where query and gallery are two, or for
            all rows.
        query: (n,) int64 manifest rows of the queries.
        gallery: (m,) int64 manifest rows of the gallery.
        shots: (k,) int64 manifest rows that multi-queries are averaged from.
    """

    protocol: str
    dataset: Dataset
    split: str | None
    query: np.ndarray
    gallery: np.ndarray
    shots: np.ndarray

    @property
    def manifest(self) -> Manifest:
        """The data set's table."""
        return self.dataset.manifest

    @property
    def labelled(self) -> bool:
        """Whether some query has a label."""
        return bool((self._labels()[self.query] >= 0).any())

    @property
    def query_images(self) -> np.ndarray:
        """The rows that query vectors are made of, ascending."""
        return np.unique(self.shots if self.protocol == "reid_multi" else self.query)

    @property
    def images(self) -> np.ndarray:
        """All rows that vectors are needed of, ascending."""
        return np.union1d(self.query_images, self.gallery)

    @property
    def averages_all(self) -> bool:
        """Whether every query of the multi-query protocol has images of its identity and camera."""
        queries = self.query[self._labels()[self.query] >= 0]
        return set(self._seen(queries)) <= set(self._seen(self.shots))

    def restricted(self, readable: np.ndarray) -> Plan:
        """The plan without images that could not be read, or multi-queries that lost all of theirs."""
        gallery, shots = (rows[np.isin(rows, readable)] for rows in (self.gallery, self.shots))
        if self.protocol != "reid_multi":
            query = self.query[np.isin(self.query, readable)]
        else:
            lost = set(self._seen(self.shots)) - set(self._seen(shots))
            query = self.query[[pair not in lost for pair in self._seen(self.query)]]
        return replace(self, query=query, gallery=gallery, shots=shots)

    def _seen(self, rows: np.ndarray) -> list[tuple[int, int]]:
        """The identity and the camera of some images."""
        return list(zip(self._labels()[rows].tolist(), self._cameras()[rows].tolist(), strict=True))

    def query_vectors(self, vectors: Vectors) -> Tensor:
        """The vectors of the queries: as they are, or means of several images."""
        if self.protocol != "reid_multi":
            return vectors.of(self.query)
        labels, cameras = self._labels(), self._cameras()
        of_query = (labels[self.query], cameras[self.query])
        return multi_queries(
            *of_query, vectors.of(self.shots), labels[self.shots], cameras[self.shots]
        ).vectors

    @property
    def shown(self) -> np.ndarray:
        """The manifest row that stands for each query in `query_vectors`."""
        if self.protocol != "reid_multi":
            return self.query
        pairs = np.stack([self._labels()[self.query], self._cameras()[self.query]])
        codes, first = np.unique(pairs, axis=1, return_index=True)
        shown: np.ndarray = self.query[first[(codes >= 0).all(0)]]
        return shown

    def measure(
        self,
        query: Array,
        gallery: Array,
        reference: tuple[Tensor, Tensor] | None,
        options: Options,
        *,
        clustering: bool = False,
        draws: int = 100,
    ) -> Report:
        """The protocol's report of one pair of embeddings; see `understudy.evaluation`."""
        codes = self._labels()
        if self.protocol == "metric_learning":
            return metric_learning(
                query,
                codes[self.query],
                gallery=None if gallery is query else gallery,
                reference=None if reference is None else reference[0],
                clustering=clustering,
                **options,
            )
        if self.protocol == "revisited":
            return revisited(query, gallery, *self._pairs(), reference=reference, **options)
        labels = codes[self.shown], codes[self.gallery]
        if self.protocol == "query_gallery":
            known = bool((labels[0] >= 0).any()) and bool((labels[1] >= 0).any())
            given = labels if known else (None, None)
            return query_gallery(query, gallery, *given, reference=reference, **options)
        cameras = self._cameras()[self.shown], self._cameras()[self.gallery]
        if self.protocol == "single_shot":
            return single_gallery_shot(query, gallery, *labels, *cameras, draws=draws, **options)
        report = reidentification(query, gallery, *labels, *cameras, reference=reference, **options)
        return replace(report, protocol=self.protocol)

    def relation(self, queries: list[int]) -> Tensor:
        """What each gallery image is to some queries, for strips.

        Args:
            queries: Places among `shown`.

        Returns:
            (q, m) int8: 1 right, 0 wrong, −1 not looked at. In revisited Oxford and Paris as on the medium
            level.
        """
        if self.protocol == "revisited":
            return self._relation_of_pairs(queries)
        codes = self._labels()
        rows = self.shown[queries]
        table = (codes[rows][:, None] == codes[self.gallery]).astype(np.int8)
        table[:, codes[self.gallery] < 0] = -1
        if self.protocol == "metric_learning":
            table[rows[:, None] == self.gallery] = -1
        elif self.protocol != "query_gallery":
            cameras = self._cameras()
            table[(table == 1) & (cameras[rows][:, None] == cameras[self.gallery])] = -1
        return torch.from_numpy(table)

    def _relation_of_pairs(self, queries: list[int]) -> Tensor:
        query_of, gallery_of, codes = self._pairs()
        words = {word for word in RELEVANCES if word in {RELEVANCES[code] for code in np.unique(codes)}}
        right, hidden = LEVELS["medium"] if words & {"easy", "hard"} else (("positive",), ("junk",))
        worth = np.array(
            [1 if word in right else -1 if word in hidden else 0 for word in RELEVANCES], np.int8
        )
        table = np.zeros((len(self.query), len(self.gallery)), np.int8)
        table[query_of, gallery_of] = worth[codes]
        return torch.from_numpy(table[queries])

    def _labels(self) -> np.ndarray:
        return self.manifest.label_codes()

    def _cameras(self) -> np.ndarray:
        codes = self.manifest.camera_codes()
        assert codes is not None
        return codes

    def _pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The ground truth in places among queries and gallery; pairs of what is not there are left out."""
        assert self.dataset.protocol is not None
        query, gallery, codes = self.dataset.protocol.rows(self.manifest)
        places = [np.full(len(self.manifest), -1) for _ in range(2)]
        for place, rows in zip(places, (self.query, self.gallery), strict=True):
            place[rows] = np.arange(len(rows))
        here = (places[0][query] >= 0) & (places[1][gallery] >= 0)
        return places[0][query[here]], places[1][gallery[here]], codes[here]
