"""The command line as a user meets it, in processes of its own."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import torch
from click.testing import CliRunner

from laser.cli.ask import why
from laser.cli.main import main
from tests.support.live_server import LiveServer
from tests.support.processes import ENVIRONMENT, laser, serving


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["docs", "landing"]], ids=" ".join)
def test_what_tells_of_the_program_alone_imports_nothing_heavy(words: list[str]) -> None:
    heavy = "torch transformers fastapi uvicorn httpx numpy yaml"
    code = f"""
import sys
from laser.cli.main import main
try:
    main({words!r}, prog_name="laser")
finally:
    print("imported:", [name for name in {heavy!r}.split() if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert "laser" in done.stdout.lower()
    assert done.stdout.endswith("imported: []\n")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what is missing without CUDA")
@pytest.mark.parametrize("command", [("serve", "--engine", "exllama", "--port", "0"), ("quantize", ".", "out")])
def test_what_needs_a_gpu_says_so_in_one_line(command: tuple[str, ...]) -> None:
    done = laser(*command)
    assert done.returncode == 1
    *before, last = done.stderr.splitlines()
    assert re.fullmatch(r"Error: .*needs an NVIDIA GPU, torch .* finds none: .*", last)
    assert all("laser.start: loading" in line for line in before)


def test_an_unknown_command_is_told_the_known_ones() -> None:
    done = laser("sreve")
    assert done.returncode == 2
    assert "no such command 'sreve'" in done.stderr
    assert "serve" in done.stderr.split("'sreve'")[1]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_served_model_answers_until_a_signal_ends_it_cleanly(random_model: Path, number: signal.Signals) -> None:
    with serving("--model", random_model, "--name", "tiny") as (process, ready):
        found = re.fullmatch(r"tiny is ready at (http://127\.0\.0\.1:\d+) — try: laser ask --url \1 \".+\"\n", ready)
        assert found, ready
        asked = laser("ask", "--url", found[1], "What is 1 + 1?")
        assert asked.returncode == 0, asked.stderr
        thought, answer, reason = asked.stdout.rstrip("\n").rsplit("\n\n", 2)
        assert thought
        assert answer
        assert re.search(r"think|thought", reason)
        assert re.search(r"\d+\.\d\d s$", reason)
        process.send_signal(number)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_a_signal_ends_the_server_though_a_client_still_reads(random_model: Path) -> None:
    with serving("--model", random_model) as (process, ready):
        url = ready.split(" ready at ")[1].split(" ")[0]
        body = {"messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 200}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, trust_env=False) as response:
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            assert list(lines)[-2:] == ["data: [DONE]", ""]
        assert process.wait(20) == 0


@pytest.mark.slow
def test_ask_says_what_to_do_when_no_server_answers() -> None:
    done = laser("ask", "--url", "http://127.0.0.1:9", "hello")
    assert done.returncode == 1
    assert done.stderr == "Error: no server answers at http://127.0.0.1:9; start one with `laser serve`\n"


@pytest.mark.slow
@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://[", ""])
def test_ask_refuses_what_is_not_an_address(url: str) -> None:
    done = laser("ask", "--url", url, "hello")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def test_ask_shows_the_server_s_own_words_when_it_refuses(confident: LiveServer) -> None:
    done = laser("ask", "--url", f"{confident.url}/v1/", "0 " * 2000)
    assert done.returncode == 1
    assert "answered 400: the prompt has" in done.stderr


def test_ask_prints_thought_answer_and_reason(confident: LiveServer) -> None:
    done = laser("ask", "--url", confident.url, "What is 3 + 4?")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    thought, answer = done.stdout.split("\n\n**Final Answer**\n")
    assert thought.startswith("the\n\n the")
    answer, reason = answer.split("\n\n")
    assert answer == "\\boxed{7}"
    assert re.fullmatch(
        r"stopped thinking: confidence 0\.97 ≥ 0\.90 after \d+ tokens, 1 probe \(\d+ rows\); \d+\.\d\d s\n", reason
    )


def test_the_reason_is_told_for_every_way_a_thought_can_end() -> None:
    laser_object = {
        "exit_reason": "confidence", "threshold": 0.9, "confidence": 0.972, "budget": None, "reasoning_tokens": 84,
        "probes": 3, "probe_tokens": 21, "total_ms": 421.0,
    }  # fmt: skip
    told = why("stop", laser_object)
    assert told == "stopped thinking: confidence 0.97 ≥ 0.90 after 84 tokens, 3 probes (21 rows); 0.42 s"
    budget = {**laser_object, "exit_reason": "budget", "budget": 64, "probes": 0}
    assert why("length", budget).startswith("stopped thinking: its budget of 64 tokens was spent")
    assert "the answer was cut at max_tokens" in why("length", budget)
    assert "it would nearly have done so itself after 84 tokens" in why(
        "stop", {**laser_object, "exit_reason": "margin"}
    )
    assert why("stop", {**laser_object, "exit_reason": "natural"}).startswith("thought to its end after 84 tokens")
    assert why("stop", {**laser_object, "exit_reason": None, "probes": 0}) == "did not think; 0.42 s"
    whole = {**laser_object, "exit_reason": "natural", "probes": 0, "answer": "code"}
    assert (
        why("stop", whole)
        == "thought to its end after 84 tokens; not probed: the answer is no short one but code; 0.42 s"
    )
    assert why("stop", {}) == "the server does not say why it stopped"


@pytest.mark.slow
def test_a_taken_port_is_told_before_the_model_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = laser("serve", "--port", str(port), "--model", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: cannot listen on 127.0.0.1 port {port}: ")
    assert done.stderr.count("\n") == 1


def _without_weights(directory: Path) -> str:
    (directory / "model.safetensors").unlink()
    return "model.safetensors is missing"


def _with_cut_weights(directory: Path) -> str:
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    return "model.safetensors is damaged"


def _without_tokenizer(directory: Path) -> str:
    (directory / "tokenizer.json").unlink()
    return "tokenizer.json is missing"


def _with_broken_tokenizer(directory: Path) -> str:
    (directory / "tokenizer.json").write_text("{")
    return "tokenizer"


def _without_config(directory: Path) -> str:
    (directory / "config.json").unlink()
    return "config.json is missing"


def _with_a_sliding_window(directory: Path) -> str:
    path = directory / "config.json"
    changed = {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 0, "layer_types": None}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    return "sliding-window attention"


def _with_a_misspelt_format(directory: Path) -> str:
    (directory / "laser.yaml").write_text("close: </think>\nopenning: <think>\n")
    return "laser.yaml:2:1: unknown key `openning`; did you mean `opening`?"


def _without_a_template(directory: Path) -> str:
    (directory / "chat_template.jinja").unlink()
    return "chat template"


@pytest.mark.parametrize(
    "damage",
    [
        _without_a_template,
        _without_weights,
        _with_cut_weights,
        _without_tokenizer,
        _with_broken_tokenizer,
        _without_config,
        _with_a_sliding_window,
        _with_a_misspelt_format,
    ],
)
def test_a_model_that_cannot_be_served_is_one_line(random_model: Path, tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    directory = tmp_path / "model"
    shutil.copytree(random_model, directory)
    told = damage(directory)
    done = CliRunner().invoke(main, ["serve", "--in-process", "--port", "0", "--model", str(directory)])
    assert done.exit_code == 1
    assert told in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("cells", "told"), [(10**13, f"cells is {10**13}, for which there is no memory"), (30, "needs at least")]
)
def test_a_cache_of_an_impossible_size_is_one_line(random_model: Path, cells: int, told: str) -> None:
    done = CliRunner().invoke(
        main, ["serve", "--in-process", "--port", "0", "--model", str(random_model), "--cells", str(cells)]
    )
    assert done.exit_code == 1
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_config_file_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("host: 127.0.0.1\nprot: 80\n")
    done = CliRunner().invoke(main, ["serve", "--config", str(file)])
    assert done.exit_code == 1
    assert done.stderr == f"Error: {file}:2:1: unknown key `prot`; did you mean `port`?\n"
    assert "cannot be read" in CliRunner().invoke(main, ["serve", "--config", str(tmp_path / "none.yaml")]).stderr
    file.write_text("port: 99999\npolicy: {kind: fixd}\n")  # a line for each fault
    policy, port = CliRunner().invoke(main, ["serve", "--config", str(file)]).stderr.splitlines()[1:]
    assert policy.startswith(f"  {file}:2:16: `policy.kind` is 'fixd', must be one of auto, ")
    assert policy.endswith("; did you mean `fixed`?")
    assert port == f"  {file}:1:1: port is 99999, must be at most 65535"


@pytest.mark.slow
def test_a_model_that_is_not_there_is_told_by_a_process_too(tmp_path: Path) -> None:
    done = laser("serve", "--port", "0", "--model", tmp_path / "none")
    assert (done.returncode, done.stderr) == (
        1,
        f"Error: {tmp_path / 'none'}: is neither a path that exists nor a model's name, ORG/NAME[:QUANT][@REVISION]\n",
    )


def test_a_report_of_a_file_that_is_not_there_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "nofile.yaml"
    done = CliRunner().invoke(main, ["experiment", "report", str(file)])
    assert (done.exit_code, done.stderr) == (1, f"Error: {file} does not exist\n")


def test_training_into_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.touch()
    done = CliRunner().invoke(main, ["train", str(file)])
    assert done.exit_code == 2
    assert "is a file" in done.stderr
