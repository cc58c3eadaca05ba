"""What Ollama's clients are told of models."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from laser.server.api.base import RequestBody
from laser.server.api.dialects import Indifferent, Treatment
from laser.server.api.reports import Capability

SPOKEN = "0.12.6"  # the release of Ollama whose API this is
NEVER = "9999-12-31T23:59:59Z"


class OllamaVersion(BaseModel):
    """Which of Ollama's APIs this is."""

    version: str = SPOKEN  # the release of Ollama whose API is spoken, which clients compare with what they need
    laser_version: str  # the release of LASER


class OllamaDetails(BaseModel):
    """What a model's files say of it; empty: they do not say it."""

    parent_model: str = ""  # none
    format: Literal["gguf", "safetensors"]  # of the files
    family: str  # architecture of the model
    families: list[str]  # the same as a list
    parameter_size: str  # number of parameters, such as 7.6B
    quantization_level: str  # type of the weights, such as BF16


class OllamaModel(BaseModel):
    """A model that is served here."""

    name: str  # of the model
    model: str  # the same by its other name
    modified_at: str  # time of the newest file, RFC 3339
    size: int  # bytes of the weights
    digest: str  # tells this state of the files from others; it is no hash of their content
    details: OllamaDetails  # what its files say of it


class OllamaTags(BaseModel):
    """All models that are served here."""

    models: list[OllamaModel]  # the served models: one


class OllamaRunningModel(OllamaModel):
    """A model that is loaded."""

    expires_at: str = NEVER  # when it is unloaded: never
    size_vram: int  # bytes of the weights in a GPU's memory, as far as the engine tells; 0: none, or it does not
    context_length: int  # longest prompt and reply together, tokens


class OllamaRunning(BaseModel):
    """All models that are loaded."""

    models: list[OllamaRunningModel]  # the served models: one


class OllamaShowRequest(RequestBody):
    """The model that is to be described."""

    here: ClassVar[dict[str, Treatment]] = {"verbose": Indifferent.UNSAID, "template": Indifferent.UNSAID}

    model: str | None = None  # name of the served model; null: the served model
    name: str | None = None  # the same by its former name


class OllamaShown(BaseModel):
    """What is known of a model."""

    modelfile: str  # the model's name and its sampling, in Ollama's form
    parameters: str  # its sampling where a request says nothing, a line each
    template: str  # its chat template, in Jinja; empty: it has none
    modified_at: str  # time of the newest file, RFC 3339
    details: OllamaDetails  # what its files say of it
    model_info: Annotated[dict[str, Any], Field(description="Numbers of the model: its architecture and context.")]
    capabilities: list[Capability]  # what it can do
