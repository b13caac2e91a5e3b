"""Data sets in the layouts their authors publish: read, counted, turned into manifests."""

from __future__ import annotations

from understudy.data.layouts import (
    cars,
    cub,
    cuhk03,
    folder,
    huggingface,
    inshop,
    market1501,
    omniglot,
    revisited,
    sfm120k,
    sop,
)
from understudy.data.layouts.prepared import Layout, Prepared

LAYOUTS = {
    "cub": Layout(cub.read, "CUB-200-2011: 100 species to train, 100 to test", cub.recognises),
    "cars": Layout(cars.read, "Cars196: 98 models to train, 98 to test", cars.recognises),
    "sop": Layout(sop.read, "Stanford Online Products: the official lists", sop.recognises),
    "inshop": Layout(inshop.read, "In-Shop Clothes: train, query, gallery", inshop.recognises),
    "market1501": Layout(market1501.read, "Market-1501, also for multi-query", market1501.recognises),
    "cuhk03": Layout(cuhk03.read, "CUHK03: 20 standard splits, 767/700", cuhk03.recognises, writes=True),
    "roxford5k": revisited.layout("roxford5k", "revisited Oxford: graded relevance, query boxes"),
    "rparis6k": revisited.layout("rparis6k", "revisited Paris: graded relevance, query boxes"),
    "sfm120k": Layout(sfm120k.read, "retrieval-SfM-120k: 3D models, matching pairs", sfm120k.recognises),
    "huggingface": Layout(
        huggingface.read, "a HuggingFace data set of images, saved to disk", huggingface.recognises
    ),
    "folder": Layout(folder.read, "any images: SPLIT/CLASS/image.jpg, CLASS/image.jpg or image.jpg"),
    "omniglot": Layout(omniglot.read, "Omniglot: background and evaluation alphabets", omniglot.recognises),
}

__all__ = ["LAYOUTS", "Layout", "Prepared"]
