"""Three sentences in three languages, none of which claims more than the test shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.contrast import contrast
from analysis.findings import Confirmed, Finding, finding, in_words
from analysis.words import LANGUAGES, Words
from tests.make_calibration import Scene, simulate

SOME = Finding(
    groups=("thinking", "non-thinking"),
    phases=("generated", "generated"),
    prompts=(60, 60),
    design="paired",
    tested=300,
    significant=41,
    smallest_p=1e-5,
    fewest_visible=1,
    layer=4,
    expert=17,
    share_first=0.061,
    share_second=0.021,
    low=0.0205,
    high=0.0595,
    level=0.9932,
    chance=1 / 64,
    layers_apart=5,
    layers=6,
)
NONE = replace(SOME, significant=0, level=0.99983, low=-0.001, layers_apart=0)
FEW = replace(NONE, smallest_p=0.0625, fewest_visible=375)
TOKEN = replace(SOME, control="token", coverage=0.62, uncontrolled=80, uncontrolled_tested=280, kept=33)
CONFIRMED = Confirmed(20, 18, 15, ((30, 30), (30, 30)), (1e-5, 5e-6), (True, True))
CASES = {
    "clustered": replace(SOME, design="clustered", prompts=(10, 10)),
    "confirmed": replace(SOME, confirmation=CONFIRMED),
    "confirmed, token": replace(TOKEN, confirmation=CONFIRMED),
    "none confirmed": replace(SOME, confirmation=replace(CONFIRMED, confirmed=0)),
    "none tested again": replace(SOME, design="unpaired", confirmation=replace(CONFIRMED, confirmed=0, tested=0)),
    "nothing discovered": replace(NONE, confirmation=Confirmed(0, 0, 0, ((9, 9), (8, 8)), (0.01, 0.02), (True, True))),
    "halves too small": replace(FEW, confirmation=Confirmed(0, 0, 0, ((3, 3), (2, 2)), (0.25, 0.25), (False, True))),
    "half too small": replace(SOME, confirmation=replace(CONFIRMED, confirmed=0, reachable=(True, False))),
    "layers out of reach": replace(NONE, smallest_p=2**-5, layers=6),
    "some": SOME,
    "none": NONE,
    "few": FEW,
    "nothing": replace(FEW, tested=0),
    "token": TOKEN,
    "token gone": replace(TOKEN, significant=0, kept=0),
    "token nothing": replace(TOKEN, significant=0, kept=0, uncontrolled=0),
    "position": replace(TOKEN, control="position"),
    "position gone": replace(TOKEN, control="position", kept=0, significant=0),
    "position nothing": replace(TOKEN, control="position", significant=0, kept=0, uncontrolled=0),
    "token only": replace(TOKEN, kept=0, uncontrolled=0),
    "position only": replace(TOKEN, control="position", kept=0, uncontrolled=0),
    "token untested before": replace(TOKEN, kept=0, uncontrolled=0, uncontrolled_tested=0),
    "token others": replace(TOKEN, kept=0),
    "token few": replace(TOKEN, kept=0, significant=0, smallest_p=0.0625, fewest_visible=375),
    "token untested": replace(TOKEN, kept=0, significant=0, tested=0),
    "nothing tested at all": replace(TOKEN, kept=0, significant=0, tested=0, uncontrolled=0, uncontrolled_tested=0),
    "unpaired": replace(SOME, design="unpaired", prompts=(20, 30)),
    "phases": replace(SOME, groups=("thinking", "answer"), phases=("thinking", "answer")),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_every_case_is_said_in_every_language(case, language):
    said = in_words(CASES[case], Words(language))
    assert len(said) == 3 + (CASES[case].confirmation is not None)
    for sentence in said:
        assert language != "en" or not sentence[0].islower()
        assert sentence[-1] in ".。" and "{" not in sentence


def test_the_numbers_are_those_of_the_finding():
    first, second, third = in_words(SOME)
    assert "41 of 300" in first and "60 prompts on both sides" in first and "5 of 6 layers" in first
    assert "expert 17 of layer 4: 6.10% of the slots in thinking, 2.10% in non-thinking, by chance 1.56%" in second
    assert "99.32%" in second and "+2.05 to +5.95 percentage points" in second
    assert "words alone" in third and "not tested" in third
    assert "20 against 30 prompts" in in_words(CASES["unpaired"])[0]


def test_confirmation_says_how_many_were_tested_and_confirmed():
    last = in_words(CASES["confirmed"])[3]
    assert "Of 20 experts discovered" in last and "18 were tested again" in last and "15 are confirmed" in last
    assert "among the same tokens" in in_words(CASES["confirmed, token"])[3]
    assert "does not show that they were chance" in in_words(CASES["none confirmed"])[3]
    assert "nothing to confirm" in in_words(CASES["nothing discovered"])[3]
    assert (
        "too few to discover" in in_words(CASES["halves too small"])[3]
        and "0.25" in in_words(CASES["halves too small"])[3]
    )
    assert "differs as a whole" in in_words(CASES["layers out of reach"])[0]
    assert "0 of 6 layers" not in in_words(CASES["layers out of reach"])[0]


def test_nothing_significant_is_no_finding_of_sameness():
    for case in ("none", "few", "token gone"):
        said = " ".join(in_words(CASES[case]))
        assert "are used differently" not in said and "not shown to be more than chance" in said
    assert "does not mean that there is none" in in_words(NONE)[2]
    assert "too few prompts" in in_words(FEW)[0] and "0.062" in in_words(FEW)[0] and "all 300" in in_words(FEW)[0]
    assert "due to different words" in in_words(CASES["token gone"])[2]


def test_a_finding_is_taken_from_the_contrast():
    shares, planted, _ = simulate(Scene(prompts=60, planted=2, effect=2.0), 3)
    tested = contrast(shares, 5000)
    found = finding(tested, ("a", "b"), ("answer", "answer"))
    assert found.significant == tested.significant.sum() > 0 and found.reachable
    assert found.low <= found.share_first - found.share_second <= found.high
    assert tested.significant[found.layer, found.expert] and found.chance == 1 / 32
    controlled = finding(tested, ("a", "b"), ("answer", "answer"), "token", tested)
    assert controlled.kept == controlled.uncontrolled == found.significant
    assert controlled.uncontrolled_tested == found.tested and found.uncontrolled_tested is None


def test_too_few_prompts_are_named_as_such():
    shares, *_ = simulate(Scene(prompts=4), 0)
    found = finding(contrast(shares, 999), ("a", "b"), ("answer", "answer"))
    assert not found.reachable and found.smallest_p == 0.125
    assert "too few prompts" in in_words(found)[0]
    assert f"too large even if all {found.tested} experts reached it" in in_words(found)[0]


def test_under_a_control_what_is_left_of_the_finding_is_said_first():
    for control, among in (("token", "among the same tokens"), ("position", "at the same positions")):
        first, second, third = in_words(replace(TOKEN, control=control))
        assert first.startswith("Of 80 experts used differently") and f"33 still differ {among}" in first
        assert "41" not in first, "what is found under the control is not what is left"
        assert second.startswith("Under the control 41 of 300 tested experts differ, and 5 of 6 layers")
        assert "other experts can be tested and found" in third and "62%" in third
        assert "may still have other causes" in third
    assert "Under the control" not in " ".join(in_words(SOME)) and in_words(SOME)[0].startswith("41 of 300")


def test_nothing_left_is_said_to_be_so_whatever_else_is_found():
    for case in ("token gone", "token others", "token few"):
        first, second, third = in_words(CASES[case])
        assert "none is shown to differ still among the same tokens" in first
        assert "due to different words, or the control had too few tokens" in third
        assert ("other experts can be tested" in third) == (case == "token others")
    assert "41 of 300" in in_words(CASES["token others"])[1]
    assert "even if all 300 experts reached it" in in_words(CASES["token few"])[1]
    first, _, third = in_words(CASES["token untested"])
    assert first.startswith("Nothing could be tested") and "among the same tokens" in first
    assert "80 experts are used differently; whether they still are cannot be said" in third
    assert "used differently" not in " ".join(in_words(CASES["nothing tested at all"]))


def test_what_shows_only_under_a_control_is_not_said_to_be_nothing():
    for control in ("token", "position"):
        first, second, _ = in_words(CASES[f"{control} only"])
        assert first.startswith("Only ") and first.endswith("without a control none was.") and "41 of 300" in second
    assert in_words(CASES["token untested before"])[0].endswith("without a control none could be tested.")
