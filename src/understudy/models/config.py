"""What a model is, as typed configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from understudy.data.preprocessing import Interpolation, ResizeMode
from understudy.errors import UserError, suggest
from understudy.models.pooling import PoolingName

Sides = tuple[Annotated[int, Gt(0)], Annotated[int, Gt(0)]]


class EmbedderConfig(BaseModel):
    """A backbone, how it is pooled, the head on it, and what its input looks like.

    Everything about the input that is left out comes from the backbone's own defaults.

    Example:
        >>> EmbedderConfig(backbone="smallconv_16", dim=64).pooling
        'avg'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = Field(description="name of one of the package's own backbones or of a timm model")
    dim: Annotated[int, Gt(0)] | None = Field(
        None,
        description="dimension of the embedding; empty for the backbone's pooled features, without a head",
    )
    pooling: PoolingName = Field("avg", description="how a feature map becomes a vector")
    output_stride: Literal[8, 16, 32] | None = Field(
        None,
        description="pixels between the positions of the last feature map, for timm models that can: 16 "
        "keeps twice as many in height and width as the usual 32",
    )
    neck: Literal["bn"] | None = Field(
        None,
        description="bn: batch normalisation of the embedding before it is L2-normalised (BNNeck)",
    )
    normalize: bool = Field(True, description="whether embeddings are L2-normalised")
    prefixes: tuple[Annotated[int, Gt(0)], ...] = Field(
        (),
        description="lengths at which the beginning of the embedding is to rank by itself (Matryoshka); "
        "every loss on the embedding is averaged over them and the whole",
    )
    prefix_weights: tuple[Annotated[float, Ge(0)], ...] | None = Field(
        None,
        description="weight of each prefix; the whole weighs 1 unless it is among them; default: 1 each",
    )
    freeze_bn: bool | Literal["all"] = Field(
        False,
        description="keep the statistics of batch normalisation as they are while training; "
        "'all' freezes its scale and shift too",
    )
    weights: str | None = Field(
        None,
        description="where the backbone starts: a .safetensors, .pth or .pt file, 'pretrained' for timm's "
        "download, empty for random weights",
    )
    weights_in_order: bool = Field(
        False, description="match the file's tensors by order and shape instead of by name"
    )
    input_size: Sides | None = Field(None, description="height and width of the network's input")
    resize: Sides | None = Field(None, description="height and width images are decoded to")
    mode: ResizeMode | None = Field(
        None, description="squash both sides, or fit the shorter and cut the longer"
    )
    interpolation: Interpolation | None = Field(None, description="filter of the resizing")
    channels: Literal[1, 3] | None = Field(None, description="1: grey, 3: RGB")
    mean: tuple[float, ...] | None = Field(None, description="subtracted, per channel, of values from 0 to 1")
    std: tuple[Annotated[float, Gt(0)], ...] | None = Field(None, description="divided by, per channel")

    @model_validator(mode="after")
    def _nested(self) -> EmbedderConfig:
        if len(set(self.prefixes)) < len(self.prefixes):
            raise ValueError(f"prefixes {list(self.prefixes)} name a length twice: give each once")
        if self.prefix_weights is None:
            return self
        if len(self.prefix_weights) != len(self.prefixes):
            raise ValueError(
                f"there are {len(self.prefixes)} prefixes and {len(self.prefix_weights)} prefix_weights: "
                "give one weight for each prefix"
            )
        if not sum(self.prefix_weights):
            raise ValueError("all prefix_weights are 0: give one of them more")
        return self


def parse_config(values: Mapping[str, Any], where: str = "the model") -> EmbedderConfig:
    """Makes a configuration of plain values.

    Args:
        values: The fields of `EmbedderConfig`; numbers and sizes may be text.
        where: What the values belong to, for the error.

    Raises:
        UserError: A key does not exist or a value does not fit.

    Example:
        >>> parse_config({"backbone": "smallconv_16", "dims": 64})
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: the model has no setting 'dims': did you mean 'dim'?
    """
    for key in values:
        if key not in EmbedderConfig.model_fields:
            raise UserError(f"{where} has no setting {key!r}: {suggest(key, EmbedderConfig.model_fields)}")
    try:
        return EmbedderConfig.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(f"{where}: {in_words(error)}") from error


def in_words(error: ValidationError) -> str:
    """The first thing that a validation found, in half a sentence: the key, the value, what is wanted."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"][:1])
    if first["type"] == "missing" and len(first["loc"]) == 1:
        return f"{key!r} is missing: give one"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{key} = {first['input']!r} does not fit: {reason[0].lower()}{reason[1:]}" if key else reason
