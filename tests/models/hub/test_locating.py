"""Models fetched by name with the real client, from a hub on loopback that fails in every way."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.hub.client import Hub
from models.hub.locating import fetch, locate, no_model
from models.hub.name import ModelName, read_name
from models.hub.problems import HubError, RefusedError, UnknownModelError, UnreachableError
from models.hub.transfer import Patience
from tests.support.standin_hub import StandInHub, digest_of, stand_in_hub

WEIGHTS = bytes(range(256)) * 2_000
TOKEN = "hf_neverShownToAnybody"
MODEL = {"config__json": b"{}", "tokenizer__json": b"{ }", "model__safetensors": WEIGHTS}


class Visit:
    """What one user of a hub does, and is told."""

    def __init__(self, standing: StandInHub, cache: Path) -> None:
        self.standing = standing
        self.cache = cache
        self.notes: list[str] = []
        self.waits: list[float] = []
        self.bytes = 0

    def hub(self, *, offline: bool = False, tries: int = 3) -> Hub:
        patience = Patience(waits_s=(0.25,) * tries, longest_s=5.0, sleep=self.waits.append)
        return Hub(endpoint=self.standing.url, cache=self.cache, offline=offline, patience=patience)

    def get(self, said: str, **options: Any) -> Path:
        """Returns the path of a model, and fetches what is missing of it."""
        hub = self.hub(**options)
        found = locate(name_of(said), hub, self.notes.append)
        if found.directory is None:
            found = fetch(found, hub, self.advance, self.notes.append)
        return found.path

    def advance(self, more: int) -> None:
        self.bytes += more

    def part(self) -> Path:
        """The path of the weights while they come."""
        blobs = self.cache / "models--org--tiny" / "blobs"
        return blobs / f"{digest_of('model.safetensors', WEIGHTS)}.incomplete"


def name_of(said: str) -> ModelName:
    name = read_name(said)
    assert name is not None
    return name


@pytest.fixture(scope="module")
def standing() -> Iterator[StandInHub]:
    with stand_in_hub() as hub:
        yield hub


@pytest.fixture
def visit(standing: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visit:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    url = standing.url
    standing.__init__(url=url)  # type: ignore[misc]
    standing.add("org/tiny", **MODEL)
    return Visit(standing, tmp_path / "cache")


def test_a_model_is_fetched_once_and_only_what_it_needs(visit: Visit) -> None:
    visit.standing.add("org/tiny", **MODEL, pytorch_model__bin=b"pickle", modeling__py=b"code")
    path = visit.get("org/tiny")
    assert sorted(file.name for file in path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert visit.bytes == len(WEIGHTS) + 5
    visit.standing.asked.clear()
    assert visit.get("org/tiny") == path
    assert [asked for _, asked, _ in visit.standing.asked] == ["/api/models/org/tiny"]
    visit.standing.asked.clear()
    assert visit.get(f"org/tiny@{path.name}") == path
    assert visit.standing.asked == [], "a commit never changes"


def test_gguf_files_come_alone(visit: Visit) -> None:
    visit.standing.repositories["org/tiny-GGUF"] = {"t-Q4_K_M.gguf": b"four", "t-Q8_0.gguf": b"eight", "README.md": b""}
    assert visit.get("org/tiny-GGUF:q8_0").read_bytes() == b"eight"
    assert visit.get("org/tiny-GGUF").name == "t-Q4_K_M.gguf"
    assert not visit.standing.sent("README.md")
    with pytest.raises(HubError, match=r"^org/tiny-GGUF:Q9 has no Q9, it has Q4_K_M, Q8_0"):
        visit.get("org/tiny-GGUF:Q9")


def test_a_cut_connection_goes_on_where_it_was(visit: Visit) -> None:
    visit.standing.cuts = [0, 1_000, 200_000]
    path = visit.get("org/tiny", tries=2)
    assert (path / "model.safetensors").read_bytes() == WEIGHTS
    assert visit.standing.sent("model.safetensors") == [None, None, "bytes=1000-", "bytes=201000-"]
    assert visit.bytes == len(WEIGHTS) + 5
    assert visit.notes[1].endswith(f"the connection to {visit.standing.url} was cut; goes on from there")


def test_a_later_run_goes_on_where_this_one_stopped(visit: Visit) -> None:
    visit.standing.cuts = [1_000] + [0] * 3
    with pytest.raises(
        HubError, match=r"1000 B of 500 KiB: the connection to .* was cut; run again to go on from there"
    ):
        visit.get("org/tiny")
    assert visit.part().stat().st_size == 1_000
    visit.standing.ranges = False  # nor is it trusted that a hub gives what is asked for
    assert (visit.get("org/tiny") / "model.safetensors").read_bytes() == WEIGHTS
    assert visit.notes[-1].endswith("499 KiB of them missing; they go to " + str(visit.cache))


def test_other_content_than_the_hub_says_is_thrown_away(visit: Visit) -> None:
    visit.standing.damaged = {"model.safetensors"}
    with pytest.raises(HubError, match=r"model\.safetensors has come with another content than the hub says"):
        visit.get("org/tiny")
    assert not visit.part().exists()
    visit.part().write_bytes(b"not the beginning of it")  # as a damaged disk has kept it
    visit.standing.damaged = set()
    assert (visit.get("org/tiny") / "model.safetensors").read_bytes() == WEIGHTS
    assert visit.standing.sent("model.safetensors") == [None, "bytes=23-", None]


def test_a_full_disk_keeps_what_has_come(visit: Visit) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(
            HubError, match=r"^org/tiny: the disk of .*cache is full, or a quota is: what has come is kept"
        ):
            visit.get("org/tiny")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert 0 < visit.part().stat().st_size <= 100_000
    assert (visit.get("org/tiny") / "model.safetensors").read_bytes() == WEIGHTS


def test_room_is_looked_for_before_anything_comes(visit: Visit) -> None:
    visit.standing.claims = {"model.safetensors": 1 << 60}
    told = r"^org/tiny takes 1 EiB more on the disk of .*cache, which has .* left: make room"
    with pytest.raises(HubError, match=told):
        visit.get("org/tiny")
    assert not visit.standing.sent("config.json")


def test_without_a_hub_the_cache_serves(visit: Visit) -> None:
    path = visit.get("org/tiny")
    unreachable = Visit(StandInHub(url="http://127.0.0.1:9"), visit.cache)  # nothing listens there
    for one, options, why in (
        (visit, {"offline": True}, "HF_HUB_OFFLINE is set"),
        (unreachable, {}, "http://127.0.0.1:9 cannot be reached"),
    ):
        assert one.get("org/tiny", **options) == path
        assert one.notes[-1].startswith(f"org/tiny: {why}")
        assert f": what the cache holds serves, revision {path.name[:8]} of 20" in one.notes[-1]
        with pytest.raises(UnreachableError, match=r"org/tiy: .*, and the cache does not hold it.*mean `org/tiny`\?$"):
            one.get("org/tiy", **options)
    visit.standing.statuses = [(503, {})]
    assert visit.get("org/tiny") == path


def test_a_new_commit_that_came_in_part_does_not_hide_the_whole_one(visit: Visit) -> None:
    path = visit.get("org/tiny")
    visit.standing.add("org/tiny", **{**MODEL, "model__safetensors": WEIGHTS[::-1]})
    visit.standing.cuts = [1_000] + [0] * 3
    assert visit.get("org/tiny") == path
    assert f"run again to go on from there: what the cache holds serves, revision {path.name[:8]} of" in visit.notes[-1]
    assert visit.get("org/tiny", offline=True) == path
    assert visit.get("org/tiny") != path


def test_what_a_cache_lacks_is_told_offline(visit: Visit) -> None:
    (visit.get("org/tiny") / "model.safetensors").unlink()
    with pytest.raises(HubError, match="and what the cache holds of it has no weights that are read here"):
        visit.get("org/tiny", offline=True)


def test_a_damaged_cache_is_mended(visit: Visit) -> None:
    path = visit.get("org/tiny")
    weights = path / "model.safetensors"
    weights.resolve().write_bytes(WEIGHTS[:9])
    (path / "config.json").resolve().unlink()
    assert visit.get("org/tiny") == path
    assert weights.read_bytes() == WEIGHTS
    assert (path / "config.json").read_bytes() == b"{}"


def gate(hub: StandInHub) -> None:
    hub.token = "another"


@pytest.mark.parametrize(
    ("said", "prepare", "error", "told"),
    [
        (
            "org/none",
            lambda hub: None,
            UnknownModelError,
            "{url} has no such model, or it is private: then set HF_TOKEN; nor",
        ),
        (
            "org/tiny",
            lambda hub: hub.statuses.append((401, {"X-Error-Message": "Invalid username or password."})),
            UnknownModelError,
            "has no such model",
        ),
        ("org/tiny@v9", lambda hub: None, RefusedError, "org/tiny has no revision v9"),
        ("org/tiny", gate, RefusedError, "org/tiny is gated: accept its terms at {url}/org/tiny, then set HF_TOKEN to"),
        (
            "org/tiny",
            lambda hub: hub.gone.add("model.safetensors"),
            RefusedError,
            "a file that the hub lists is missing",
        ),
        ("org/tiny", lambda hub: hub.statuses.append((403, {})), RefusedError, "org/tiny: {url} refuses (403)"),
        (
            "org/tiny",
            lambda hub: hub.statuses.extend([(429, {"Retry-After": "600"})] * 2),
            UnreachableError,
            "{url} limits how much is asked of it (429), for 600 s; HF_TOKEN may allow more",
        ),
        ("org/tiny", lambda hub: hub.statuses.extend([(500, {})] * 9), UnreachableError, "{url} fails (500), and the"),
    ],
)
def test_what_a_hub_refuses_is_told_in_a_line(
    visit: Visit, said: str, prepare: Callable[[StandInHub], object], error: type[HubError], told: str
) -> None:
    prepare(visit.standing)
    with pytest.raises(error) as found:
        visit.get(said)
    assert told.format(url=visit.standing.url) in str(found.value)
    assert found.value.lines == (str(found.value),)


def test_a_hub_that_asks_to_wait_is_waited_for(visit: Visit) -> None:
    visit.standing.statuses = [(429, {"Retry-After": "3"}), (503, {}), (429, {"RateLimit": '"api";r=0;t=2'})]
    visit.get("org/tiny")
    assert visit.waits == [3.0, 0.25, 2.0]


def test_a_token_is_sent_and_never_shown(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, caplog: Any, capsys: Any
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    visit.standing.token = TOKEN
    visit.get("org/tiny")
    assert visit.standing.tokens == {f"Bearer {TOKEN}"}
    visit.standing.token = "another"
    visit.standing.add("org/gated", **MODEL)
    with pytest.raises(RefusedError, match="is gated, and the account of your token has no access") as refused:
        visit.get("org/gated")
    visit.standing.statuses = [(401, {"X-Error-Message": "Invalid credentials in Authorization header"})]
    with pytest.raises(RefusedError, match="does not accept your token") as invalid:
        visit.get("org/gated")
    visit.standing.statuses = [(403, {"X-Error-Message": f"no {TOKEN}"})]
    with pytest.raises(RefusedError, match=r"refuses \(403\): no …$") as echoed:
        visit.get("org/gated")
    monkeypatch.setenv("HF_TOKEN", f"{TOKEN}\x01")
    with pytest.raises(HubError, match="holds characters that no token has") as odd:
        visit.get("org/gated")
    shown = [
        *visit.notes,
        *(repr(one.value) for one in (refused, invalid, echoed, odd)),
        caplog.text,
        *capsys.readouterr(),
    ]
    assert not any(TOKEN in text for text in shown)


def test_what_is_no_name_is_told_with_the_name_that_it_is_like(visit: Visit) -> None:
    visit.get("org/tiny")
    error = no_model(Path("./models/tiny-"), visit.hub(offline=True))
    assert str(error) == (
        "models/tiny-: is neither a path that exists nor a model's name, ORG/NAME[:QUANT][@REVISION]; did you mean "
        "`org/tiny`?"
    )


def test_a_path_that_leads_out_of_the_repository_is_refused(visit: Visit, tmp_path: Path) -> None:
    outside = tmp_path / "secret-Q4_K_M.gguf"
    outside.write_bytes(WEIGHTS)  # a file of this machine, of the size that is listed
    for path in (outside.as_posix(), "../../../../secret-Q4_K_M.gguf"):
        visit.standing.repositories["org/tiny"] = {path: WEIGHTS}
        with pytest.raises(HubError, match=r"the hub lists '.*secret-Q4_K_M.gguf', which is no path within"):
            visit.get("org/tiny")
