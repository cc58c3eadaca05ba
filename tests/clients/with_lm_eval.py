"""lm-evaluation-harness with a task over a local file, over chats and over completions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import MODEL, URL, check, done

HERE = Path(tempfile.mkdtemp())
QUESTIONS = (("37, 82, 51, 92", "92"), ("12, 99, 40", "99"), ("81, 18, 54", "81"))
TASK = f"""
task: laser_largest
dataset_path: json
dataset_kwargs:
  data_files: {{test: {HERE}/questions.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "Given {{{{numbers}}}}, what is the largest number?"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["<|im_end|>"], max_gen_toks: 400, temperature: 0}}
filter_list:
  - name: boxed
    filter:
      - {{function: regex, regex_pattern: "boxed{{(\\\\d+)}}"}}
      - {{function: take_first}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""
HERE.joinpath("questions.jsonl").write_text(
    "".join(json.dumps({"numbers": numbers, "answer": answer}) + "\n" for numbers, answer in QUESTIONS), "utf-8"
)
HERE.joinpath("task.yaml").write_text(TASK, encoding="utf-8")


def evaluated(model: str, path: str, *more: str, **arguments: object) -> float:
    said = {"model": MODEL, "base_url": f"{URL}{path}", "num_concurrent": 2, "tokenized_requests": False, **arguments}
    out = HERE / model
    done = subprocess.run(
        [
            sys.executable, "-m", "lm_eval", "--model", model, "--model_args",
            ",".join(f"{name}={value}" for name, value in said.items()),
            "--tasks", "laser_largest", "--include_path", str(HERE), "--output_path", str(out), *more,
        ],
        env={**os.environ, "OPENAI_API_KEY": "unused", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-600:]
    (report,) = out.rglob("results_*.json")
    return float(json.loads(report.read_text(encoding="utf-8"))["results"]["laser_largest"]["exact_match,boxed"])


@check("chats over a local file")
def chats() -> None:
    share = evaluated("local-chat-completions", "/v1/chat/completions", "--apply_chat_template")
    assert share > 0.6, share


@check("completions over a local file")
def completions() -> None:
    evaluated("local-completions", "/v1/completions", tokenizer_backend="None")


done()
