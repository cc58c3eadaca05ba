"""Keys: what clients can send, what is never shown, and that many of them stop nobody."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from pathlib import Path

import pytest
import yaml

from laser.server.api.errors import Unauthorized
from laser.server.keys import ApiKey, KeyFile, KeyRing
from models.files.strict_yaml import ConfigError, read

SECRET = "sk-5f3a9c17d2e84b60"


def ring(directory: Path, text: str) -> KeyRing:
    file = directory / "keys.yaml"
    file.write_text(text, encoding="utf-8")
    return KeyRing(file, lambda: 0.0)


@pytest.mark.parametrize(
    "spelled",
    [
        "|\n    abcdefghij\n", ">\n    abcdefghij\n", "' abcdefghij '", '"abcdefghij\\n"', '"\\tabcdefghij"',
        "abcdefghij  ",
    ],
)  # fmt: skip
def test_blanks_around_a_key_are_no_part_of_it(tmp_path: Path, spelled: str) -> None:
    assert ring(tmp_path, f"keys:\n - name: a\n   key: {spelled}\n").caller("Bearer abcdefghij").name == "a"


def test_blanks_around_a_digest_are_no_part_of_it(tmp_path: Path) -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    found = ring(tmp_path, f"keys:\n - name: a\n   sha256: |\n    {digest.upper()}\n")
    assert found.caller(f"Bearer {SECRET}").name == "a"


@pytest.mark.parametrize(
    "key", ['"abcd efgh"', '"abcd\\nefgh"', '"abcdéfgh"', '"abcd\\u3042efgh"', '"abcd\\x7fefgh"', '"abcd\\tefgh"']
)
def test_a_key_that_no_client_can_send_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=r"`keys\[0\]`: key has a blank, .* which clients cannot send"):
        ring(tmp_path, f"keys: [{{name: a, key: {key}}}]")


@pytest.mark.parametrize(("key", "count"), [('""', 0), ('"        "', 0), ('"   short  "', 5)])
def test_blanks_do_not_make_a_key_long(tmp_path: Path, key: str, count: int) -> None:
    with pytest.raises(ConfigError, match=f"key has {count} characters, must be at least 8"):
        ring(tmp_path, f"keys: [{{name: a, key: {key}}}]")


@pytest.mark.parametrize(
    "text",
    [
        "keys: [{name: a, key: 5391774260184}]",
        "keys: [{name: a, key: 5391774260184e3}]",
        "keys: [{name: a, key: 0x5391774260184}]",
        f"keys: [{{name: {SECRET}, key: a-good-key}}]",
        f"keys: [{{name: {SECRET}}}]",
        f"keys: [{{name: {SECRET}, key: short}}]",
        f"keys: [{{name: {SECRET}, sha256: short}}]",
        f"keys: [{{name: my {SECRET}, key: short}}]",
        f"keys: [{{name: a, key: {SECRET}}}, {{name: {SECRET}, key: a-good-key}}]",
        f"keys: [{{name: app, key: {SECRET}}}, {{name: app, key: {SECRET}}}]",
        f"keys: [{{name: {SECRET[3:]}, key: {SECRET[3:]}}}]",
        f"keys: [{{name: a, {SECRET}: a}}]",
        f"keys: [{{name: a, key: [{SECRET}]}}]",
        f"keys: [{{name: a, key: {{{SECRET}: 1}}}}]",
        f"keys: [{{name: a, sha256: {SECRET}}}]",
        f"keys: [{{name: a, weight: {SECRET}}}]",
        f"keys: [{{name: a, admin: {SECRET}}}]",
        f"keys: [{{name: a, key: a-good-key, weight: {SECRET}}}]",
        f"keys: [{{name: a, key: *{SECRET}}}]",
        f"keys: [{{name: a, key: !{SECRET} b}}]",
        f"keys: [{{name: a, key: !!int {SECRET}}}]",
        f"keys: [{{name: a, key: change-me-{SECRET}}}]",
        f"keys: [{{name: a, key: {SECRET} {SECRET}}}]",
        f'keys: [{{name: a, key: "{SECRET}\\q"}}]',
        f"keys: [{{name: a, key: '{SECRET}}}]",
        f"keys: [{{name: a, key: @{SECRET}}}]",
        f"keys: [{{name: &{SECRET} a, key: &{SECRET} b}}]",
        f"keys: {SECRET}",
        f"keys: {{{SECRET}: alice}}",
        f"{SECRET}: alice",
        f"{SECRET}",
        f"- {SECRET}",
        f"? [{SECRET}]\n: 1",
        f"keys: [{{name: a, key: {SECRET}: b}}]",
        f"%{SECRET}\n---\nkeys: []",
        f"keys:\n - name: a\n   key: {SECRET}\n  {SECRET}: b\n",
    ],
)
def test_no_error_shows_a_secret(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ring(tmp_path, text)
    told: BaseException | None = refused.value
    assert "keys.yaml" in str(told)
    shown = str(told).replace(str(tmp_path), "").lower()
    for part in (SECRET, SECRET[3:], "5391774260184"):
        assert part not in shown
        assert hashlib.sha256(part.encode()).hexdigest() not in shown


def test_no_secret_stands_in_what_a_key_looks_like_to_a_programmer(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(f"keys: [{{name: a, key: {SECRET}}}]")
    shown = repr(read(file, KeyFile, secret=True)) + repr(ApiKey(name="a", sha256="ab" * 32))
    assert SECRET not in shown
    assert "abab" not in shown


def test_a_changed_file_is_read_on_another_thread(tmp_path: Path) -> None:
    file, now = tmp_path / "keys.yaml", 0.0
    file.write_text("keys: [{name: a, key: a-good-key}]")
    begun: list[object] = []
    found = KeyRing(file, lambda: now, start=begun.append)
    file.write_text("keys: [{name: b, key: another-key}]")
    now = 2.0
    for _ in range(3):
        assert found.caller("Bearer a-good-key").name == "a"
        now += 2.0
    (work,) = begun  # one reading at a time
    assert callable(work)
    work()
    assert found.caller("Bearer another-key").name == "b"
    with pytest.raises(Unauthorized):
        found.caller("Bearer a-good-key")


def test_a_key_that_was_taken_out_is_refused_though_no_request_came_meanwhile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("keys: [{name: a, key: a-good-key}]")
    found = KeyRing(file, time.monotonic)

    async def told(words: str) -> None:
        async with asyncio.timeout(20):
            while not any(words in record.getMessage() for record in caplog.records):
                await asyncio.sleep(0.05)

    async def test() -> None:
        watching = asyncio.create_task(found.watch())
        file.write_text("keys: [{name: b, key: another-key}]")
        await told("1 keys are in force")
        with pytest.raises(Unauthorized):
            found.caller("Bearer a-good-key")
        file.write_text("keys: 7")
        await told("the former keys stay in force")
        watching.cancel()

    with caplog.at_level("INFO"):
        asyncio.run(test())
    assert found.caller("Bearer another-key").name == "b"


@pytest.mark.slow
def test_reading_5000_keys_does_not_stop_the_event_loop(tmp_path: Path) -> None:
    file, now = tmp_path / "keys.yaml", 0.0
    file.write_text("keys: [{name: first, key: the-first-key}]")
    found = KeyRing(file, lambda: now)
    many = [{"name": f"user {number}", "key": f"sk-of-user-{number:06}"} for number in range(5_000)]
    file.write_text(yaml.safe_dump({"keys": many}))

    async def watched() -> int:
        nonlocal now
        now, looks = 2.0, 0
        deadline = time.monotonic() + 120.0
        found.caller("Bearer the-first-key")
        while time.monotonic() < deadline:
            await asyncio.sleep(0.001)
            looks += 1
            if not any(thread.name == "keys" for thread in threading.enumerate()):
                break
        return looks

    looks = asyncio.run(watched())
    assert found.caller("Bearer sk-of-user-004999").name == "user 4999"
    assert looks > 20, "the event loop went round while the keys were read"
