"""Every command of README and docs/ is run by something, or there is a reason why not."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.away import COURSE, HERE, ROOT, commands, snippet, told

SHOWN = sorted(set(commands()))


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_of_the_documents_is_run_or_has_a_reason(command: str) -> None:
    assert [pattern for pattern in COURSE if re.match(pattern, command)], (
        f"add it to COURSE in tests/away.py: {command}"
    )


def test_the_course_has_nothing_that_no_document_shows() -> None:
    assert [pattern for pattern in COURSE if not any(re.match(pattern, command) for command in SHOWN)] == []
    assert len(SHOWN) > 30


def test_what_is_said_to_run_a_command_is_there() -> None:
    files = {by for by in COURSE.values() if "/" in by and " " not in by}
    assert len(files) > 10
    assert {file for file in files if not (ROOT / file).is_file()} == set()


def test_readme_s_own_commands_run_away_from_a_clone() -> None:
    for command in (told("laser init"), told("laser calibrate"), told("laser serve --model")):
        assert [by for pattern, by in COURSE.items() if re.match(pattern, command)] == [HERE]
        assert shlex.split(command)[0] == "laser"
    assert "laser-reasoner" in snippet()
    compile(snippet(), "README.md", "exec")
