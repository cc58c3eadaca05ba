"""What closes a thought before each kind of answer, in the formats that come with LASER."""

from __future__ import annotations

import pytest

from models.files.strict_yaml import read
from models.formats.form import ClosingTexts, LandingTexts, ThinkingFormat
from models.kinds.kind import AnswerForm, AnswerKind
from models.reasoner import bundled_model
from models.thinking import format_file, format_names

OTHERS = [kind for kind in AnswerKind if kind is not AnswerKind.SHORT]


@pytest.mark.parametrize("name", format_names())
def test_only_a_box_is_begun_by_a_landing(name: str) -> None:
    form = read(format_file(name), ThinkingFormat)
    assert form.landing_for(AnswerKind.SHORT, AnswerForm.BOX) == form.landing
    unboxed = {form.landing_for(kind, each) for kind in OTHERS for each in AnswerForm}
    unboxed |= {form.landing_for(AnswerKind.SHORT, each) for each in (AnswerForm.WORDS, AnswerForm.CHOICE)}
    (landing,) = unboxed
    assert form.landing.startswith(landing)
    assert "boxed" not in landing
    assert any(closer in landing for closer in form.closers)
    assert isinstance(form.close, ClosingTexts) or landing == form.landing  # none of them begins an answer
    assert form.choice_suffix == f"{form.lead(form.probe.suffix)}Answer:"


def test_the_bundled_models_landing_begins_a_box_alone() -> None:
    form = read(bundled_model() / "laser.yaml", ThinkingFormat)
    assert form.boxes
    assert form.landing_for(AnswerKind.CODE, AnswerForm.BOX) == "</think>\n\n"


def test_a_format_may_have_landings_of_its_own() -> None:
    form = ThinkingFormat(landings=LandingTexts(code="Now the code.\n</think>\n"))
    assert form.landing_for(AnswerKind.CODE, AnswerForm.WORDS) == "Now the code.\n</think>\n"
    assert form.landing_for(AnswerKind.OPEN, AnswerForm.WORDS) == form.landing
    with pytest.raises(ValueError, match=r"landings\.open is 'so', must contain the closing marker '</think>'"):
        ThinkingFormat(landings=LandingTexts(open="so"))


def test_texts_that_are_not_shown_stay() -> None:
    form = read(format_file("granite"), ThinkingFormat)
    assert form.choice_suffix == "\n</think>\n<response>Answer:"
