"""The served model in Ollama's words."""

from __future__ import annotations

from functools import cached_property

from laser.server.api.ollama.reports import (
    OllamaDetails,
    OllamaModel,
    OllamaRunning,
    OllamaRunningModel,
    OllamaShown,
    OllamaTags,
)
from laser.server.api.shape import written
from laser.server.catalogue.facts import ModelFacts, facts_of
from laser.server.engine_process.served import LATEST, ServedModel
from models.reasoner import bundled_model

ON_GPU = "exllama"  # the engine whose weights all lie in a GPU's memory


class OllamaCatalogue:
    """Tells of one served model. Its methods read the heads of the model's files, once."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served

    @cached_property
    def _facts(self) -> ModelFacts:
        return facts_of(self._served.config.model or bundled_model())

    @property
    def _name(self) -> str:
        name = self._served.model_id
        return name if ":" in name else f"{name}{LATEST}"

    @property
    def _details(self) -> OllamaDetails:
        facts = self._facts
        return OllamaDetails(
            format=facts.form,
            family=facts.family,
            families=[facts.family] if facts.family else [],
            parameter_size=facts.parameter_size,
            quantization_level=facts.stored,
        )

    @property
    def _model(self) -> OllamaModel:
        facts = self._facts
        return OllamaModel(
            name=self._name,
            model=self._name,
            modified_at=written(int(facts.modified_s)),
            size=facts.size,
            digest=facts.digest,
            details=self._details,
        )

    def tags(self) -> OllamaTags:
        """Returns the models that are here."""
        return OllamaTags(models=[self._model])

    def running(self) -> OllamaRunning:
        """Returns the models that are loaded."""
        loaded = OllamaRunningModel(
            **self._model.model_dump(),
            size_vram=self._facts.size if self._served.engine == ON_GPU else 0,
            context_length=self._served.room,
        )
        return OllamaRunning(models=[loaded])

    def shown(self) -> OllamaShown:
        """Returns what is known of the model."""
        facts, chat = self._facts, self._served.chat
        own = {"temperature": chat.defaults.temperature, "top_k": chat.defaults.top_k, "top_p": chat.defaults.top_p}
        lines = [f"{name} {value:g}" for name, value in own.items()]
        family = facts.family or "model"
        return OllamaShown(
            modelfile="\n".join([f"FROM {self._name}", *(f"PARAMETER {line}" for line in lines)]),
            parameters="\n".join(lines),
            template=chat.tokenizer.template.source or "",
            modified_at=written(int(facts.modified_s)),
            details=self._details,
            model_info={
                "general.architecture": family,
                "general.parameter_count": facts.parameters,
                f"{family}.context_length": self._served.room,
            },
            capabilities=list(self._served.capabilities),
        )
