import math

import pytest

from lacvit.report.curves import stage_curves
from lacvit.report.record import StageRecord
from lacvit.report.words import display_width, duration, figures, percent, shortened, whole


def told(name, *rows):
    return stage_curves(StageRecord(name, rows))


def test_epochs_are_counted_from_one():
    stage = told("joint", {"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": 1.0})
    assert stage.title == "Joint"
    assert [curve.title for curve in stage.curves] == ["Loss"]
    assert stage.curves[0].x == [1, 2]
    assert stage.sentences == ("2 epochs.", "The loss went from 2 to 1.")


def test_contrast_is_told_between_its_start_and_its_floor():
    ends = {"loss_start": 5.0, "loss_floor": 3.0}
    stage = told("contrastive", *({"epoch": i, "loss": 5.0 - i, **ends} for i in range(2)))
    assert stage.curves[0].marks == {"at start, ln(N\u22121)": 5.0, "floor": 3.0}
    assert (
        "50\u202f% of the way from its value at start, ln(N\u22121) = 5, to its floor, 3."
        in (stage.sentences[1])
    )


def test_the_best_epoch_is_named():
    accuracies = [0.5, 0.7, math.nan, 0.6]
    rows = [{"epoch": i, "validation_accuracy": a} for i, a in enumerate(accuracies)]
    stage = told("cross_entropy", *rows)
    assert stage.sentences[-1] == "Best validation accuracy: 70.0\u202f%, epoch 2."


def test_waiting_for_data_is_a_share_of_the_step():
    rows = [{"epoch": i, "step_seconds": 0.4, "data_seconds": 0.1} for i in range(3)]
    waited = "3 epochs, 25.0\u202f% of the step time spent waiting for data."
    assert told("joint", *rows).sentences == (waited,)


def test_an_exact_head_is_told_over_its_strengths():
    rows = [
        {"strength": 1.0, "validation_accuracy": 0.6, "validation_loss": 2.0, "chosen": False},
        {"strength": 0.1, "validation_accuracy": 0.6, "validation_loss": 1.0, "chosen": False},
        {"strength": 0.01, "validation_accuracy": 0.5, "validation_loss": 1.5, "chosen": False},
    ]
    stage = told("head", *rows)
    assert stage.curves[0].x == [0.01, 0.1, 1.0]
    assert stage.curves[0].y == [0.5, 0.6, 0.6]
    assert stage.curves[0].best == 1  # equal accuracy: the smaller loss
    assert stage.sentences == (
        "Solved exactly for 3 strengths of the penalty; C\u00a0=\u00a00.1 did best on validation, "
        "60.0\u202f%.",
    )
    rows[0]["chosen"] = True
    assert told("head", *rows).curves[0].best == 2


def test_one_row_has_no_curve_but_its_figures():
    stage = told("head", {"strength": 0.1, "loss": 0.5, "validation_accuracy": 0.75})
    assert stage.curves == ()
    assert stage.sentences == (
        "The loss came to 0.5.",
        "Validation accuracy: 75.0\u202f%.",
        "Solved exactly, inverse strength of the penalty C = 0.1.",
    )


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (percent(0.6146), "61.5\u202f%"),
        (percent(math.nan), "\u2013"),
        (whole(10_000), "10,000"),
        (figures(0.12345), "0.123"),
        (figures(12345.6), "12,346"),
        (figures(math.inf), "\u2013"),
        (duration(7.25), "7.25\u202fs"),
        (duration(75), "1\u202fmin 15\u202fs"),
        (duration(7260), "2\u202fh 1\u202fmin"),
        (shortened("abc\ndef", 20), "abc def"),
        (shortened("abc def", 5), "abc\u2026"),
        (shortened("a\x00b\ud800", 9), "a\ufffdb\ufffd"),
        (display_width("a猫"), 3),
    ],
)
def test_numbers_and_names_are_said_alike_everywhere(said, expected):
    assert said == expected
