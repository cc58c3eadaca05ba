"""GuideLLM: a few requests one after another over prompts of a local file, and what it makes of the replies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import MODEL, QUESTION, URL, check, done

HERE = Path(tempfile.mkdtemp())
REQUESTS = 4


@check("four requests one after another")
def benchmark() -> None:
    HERE.joinpath("prompts.jsonl").write_text((json.dumps({"prompt": QUESTION}) + "\n") * REQUESTS, encoding="utf-8")
    report = HERE / "report.json"
    spec = {
        "backend": {"kind": "openai_http", "target": URL, "model": MODEL, "max_tokens": 400},
        "profile": {"kind": "synchronous"},
        "constraints": [{"kind": "max_requests", "count": REQUESTS}],
        "data": [{"kind": "json_file", "path": str(HERE / "prompts.jsonl")}],
        "outputs": [{"kind": "json", "path": str(report)}],
    }
    scenario = HERE / "scenario.json"
    scenario.write_text(json.dumps({"spec": spec}), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("guidellm"), "run", "--config", str(scenario), "--disable-console-interactive"],
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-600:]
    (measured,) = json.loads(report.read_text(encoding="utf-8"))["benchmarks"]
    totals = measured["metrics"]["request_totals"]
    assert totals["successful"] == REQUESTS, totals


done()
