"""The `llm` command line: OpenAI's dialect by its settings file, Ollama's by its plugin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import ANSWER, MODEL, QUESTION, URL, check, done

LLM = Path(sys.executable).with_name("llm")
HOME = Path(tempfile.mkdtemp())
OWN = f"""
- model_id: laser
  model_name: {MODEL}
  api_base: {URL}/v1
  supports_tools: true
  supports_schema: true
"""


def llm(*words: str) -> str:
    environment = {**os.environ, "LLM_USER_PATH": str(HOME), "OPENAI_API_KEY": "unused", "OLLAMA_HOST": URL}
    done = subprocess.run([LLM, *words], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


(HOME / "extra-openai-models.yaml").write_text(OWN, encoding="utf-8")


@check("openai: a question")
def ask() -> None:
    assert ANSWER in llm("-m", "laser", "--no-stream", "-o", "max_tokens", "400", QUESTION)


@check("openai: a stream")
def stream() -> None:
    assert ANSWER in llm("-m", "laser", QUESTION)


@check("ollama: the model is listed, and answers")
def ollama() -> None:
    assert f"ollama/{MODEL}:latest" in llm("models", "list")
    assert ANSWER in llm("-m", f"ollama/{MODEL}:latest", QUESTION)


for way, name in {"openai": "laser", "ollama": f"ollama/{MODEL}:latest"}.items():

    @check(f"{way}: a schema")
    def schema(name: str = name) -> None:
        assert isinstance(json.loads(llm("-m", name, "--schema", "number int", QUESTION))["number"], int)


done()
