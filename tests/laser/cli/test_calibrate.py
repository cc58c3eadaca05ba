"""`laser calibrate` as a user meets it: what its flags do, what it says, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from laser.cli.calibrate import way_on
from laser.cli.main import main
from models.profile.certificate import certify, evidence
from models.profile.give_up import LADDER
from models.profile.levers.no_thought_tables import CUT_OFFS
from models.profile.profile import read_profile, write_profile
from models.reasoner.tasks import FAMILIES
from tests.support.calibrations import save_calibration
from tests.support.contests import contest

pytestmark = pytest.mark.slow

QUICK = ("-n", "8", "--epsilon", "0.5", "--delta", "0.1", "--max-tokens", "320")


def calibrate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["calibrate", *map(str, arguments)])


def test_a_profile_is_written_as_the_flags_say(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    loading = ("--engine", "torch", "--max-batch", "16", "--threads", "1", "--no-trust-markers")
    result = calibrate(*QUICK, "--out", path, "--budgets", "150,60,150", "--score", "joint", "--seed", "3", *loading)
    assert result.exit_code == 0, result.output
    certified = f"Certified on {8 * len(FAMILIES)} questions"
    for part in ("told easy", certified, "Step: ", "token rows", f"Profile: {path}"):
        assert part in result.output
    assert f"Records: {path}.records.jsonl" in result.output
    for part in (
        "What this is worth",
        "`laser serve` takes ",
        "go on from these records: the same command,",
    ):
        assert part in result.output
    found = read_profile(path)
    assert found.contest is not None
    assert found.order is not None
    assert "Orders, simulated on the profile's records under " in result.output
    assert (found.budgets, found.score, found.max_tokens) == ((None, 150, 60), "joint", 320)
    assert (found.certificate.epsilon, found.certificate.delta) == (0.5, 0.1)
    options = found.provenance["options"]
    assert (options["count"], options["seed"], options["budgets"]) == (8, 3, [60, 150])
    assert (options["engine"], options["out"]) == ("torch", "profile.json")  # a name tells no one where files lie
    assert (found.plant.max_batch, found.provenance["threads"]) == (16, 1)


def test_points_at_which_thoughts_are_given_up_are_tabulated_where_they_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    result = calibrate(*QUICK, "--out", path, "--budgets", "60", "--give-up")
    assert result.exit_code == 0, result.output
    tables = read_profile(path).give_up
    assert tables is not None
    assert tables.curves == LADDER


def test_an_index_is_tabulated_where_it_is_wanted_and_told_where_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    result = calibrate(*QUICK, "--out", path, "--budgets", "60", "--price-index")
    assert result.exit_code == 0, result.output
    tables = read_profile(path).index
    assert tables is not None
    assert tables.refused is not None
    assert "Closing thoughts by a price is not certified" in result.output


def test_points_that_answer_at_once_are_recorded_and_tabulated_where_they_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    result = calibrate(*QUICK, "--out", path, "--budgets", "60", "--no-thought")
    assert result.exit_code == 0, result.output
    tables = read_profile(path).no_thought
    assert tables is not None
    assert tables.cut_offs == CUT_OFFS
    assert "Answering at once is" in " ".join(result.output.split())
    records = path.with_name("profile.json.records.jsonl").read_text()
    assert records.count('"budget":0,') == sum(read_profile(path).counts)


def test_records_without_answers_at_once_are_refused_by_name(tmp_path: Path) -> None:
    file = save_calibration(tmp_path)
    result = calibrate("--from-records", "--no-thought", "--out", file)
    assert result.exit_code == 1
    assert "the records lack the answers without thought to 10 of 10 questions" in result.output


def test_too_few_questions_are_refused_at_once_with_the_number_needed(tmp_path: Path) -> None:
    result = calibrate("-n", "10", "--out", tmp_path / "p.json")
    assert result.exit_code == 1
    assert f"there are {10 * len(FAMILIES)} questions, must be at least 211" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--epsilon", "0"), "0<x<1"),
        (("--delta", "1"), "0<x<1"),
        (("--budgets", "many"), "'many' is no list of tokens"),
        (("--budgets", "0,5"), "0 is below 1"),
        (("--budgets", ""), "is no list of tokens"),
        (("--score", "minimum"), "'minimum' is not one of"),
        (("--out", "nowhere/profile.json"), "there is no directory 'nowhere'"),
        (("--model", "nowhere"), "nowhere"),
        (("--questions", "nowhere.jsonl"), "nowhere.jsonl: cannot be read"),
    ],
)
def test_bad_options_are_told(arguments: tuple[str, ...], told: str) -> None:
    result = calibrate(*QUICK, *arguments)
    assert result.exit_code != 0
    assert told in result.output
    assert "Traceback" not in result.output


def test_an_option_of_the_environment_is_refused_beside_records_too() -> None:
    found = CliRunner().invoke(
        main, ["calibrate", "--from-records"], auto_envvar_prefix="LASER", env={"LASER_CALIBRATE_THREADS": "1"}
    )
    assert found.exit_code == 2
    assert "--threads is given, but --from-records measures nothing" in found.output


def test_the_way_on_is_one_that_is_taken() -> None:
    assert way_on(True, measured=True).startswith("More questions go on from these records: the same command, with a")
    assert ": `laser calibrate` without --from-records, with a larger -n" in way_on(True, measured=False)
    assert way_on(False, measured=True) == way_on(False, measured=False)
    assert "a calibration from the start" in way_on(False, measured=True)


@pytest.mark.parametrize(
    ("files", "told"),
    [(None, way_on(False, measured=False)), ([], way_on(True, measured=False))],
)
def test_from_records_tells_what_they_are_worth_and_whether_they_take_more(
    tmp_path: Path, files: list[str] | None, told: str
) -> None:
    path = save_calibration(tmp_path, files=files)  # None: as an earlier release wrote them
    profile = read_profile(path)
    given = profile.certificate
    seen = evidence(0, given.count, None, given.count, given.delta)  # never right: refused, so no contest is held
    refused = certify(given.harmed, given.count, epsilon=given.epsilon, delta=given.delta, evidence=seen)
    write_profile(path, replace(profile, certificate=refused))
    result = calibrate("--from-records", "--out", path)
    assert result.exit_code == 0, result.output
    assert "What this is worth: nothing yet." in result.output
    assert result.output.endswith(f"{told}\n")


def test_the_order_alone_is_chosen_again_and_the_contest_stays(tmp_path: Path) -> None:
    path = save_calibration(tmp_path)
    before = replace(read_profile(path), contest=contest(0.1))
    write_profile(path, before)
    result = calibrate("--from-records", "--order-only", "--out", path)
    assert result.exit_code == 0, result.output
    found = read_profile(path)
    assert found.order is not None
    assert replace(found, order=None) == before
    assert "`laser serve` takes " in result.output
    assert "Policies" not in result.output


def test_the_order_alone_needs_records_and_a_contest(tmp_path: Path) -> None:
    for options in (
        ("--order-only",),
        ("--order-only", "--from-records", "--give-up"),
        ("--order-only", "--from-records", "--width", "3"),
    ):
        result = calibrate(*options)
        assert result.exit_code == 2
        assert "--order-only goes with --from-records, without --give-up" in result.output
    path = save_calibration(tmp_path)
    result = calibrate("--from-records", "--order-only", "--out", path)
    assert result.exit_code == 1
    assert "there is no contest, which tells the policy: leave --order-only out" in result.output


def test_records_without_a_profile_are_told() -> None:
    result = calibrate("--from-records", "--out", "nowhere.json")
    assert result.exit_code == 1
    assert "there is no profile 'nowhere.json'; `laser calibrate` makes one" in result.output
