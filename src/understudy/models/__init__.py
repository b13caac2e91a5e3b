"""Vectors out: backbone, pooling and head, saved and loaded as one directory."""

from __future__ import annotations

from understudy.models.artefact import load, save_artefact
from understudy.models.backbones import OWN_BACKBONES, backbone_names
from understudy.models.card import model_card
from understudy.models.config import EmbedderConfig, parse_config
from understudy.models.cost import count_macs, count_parameters
from understudy.models.embedder import Embedder, build_embedder
from understudy.models.outputs import Outputs
from understudy.models.space import Projection, TeacherSpace
from understudy.models.weights import read_tensors

__all__ = [
    "OWN_BACKBONES",
    "Embedder",
    "EmbedderConfig",
    "Outputs",
    "Projection",
    "TeacherSpace",
    "backbone_names",
    "build_embedder",
    "count_macs",
    "count_parameters",
    "load",
    "model_card",
    "parse_config",
    "read_tensors",
    "save_artefact",
]
