import html
import math
import re
from itertools import combinations

import numpy as np
import pytest

from lacvit.report import confusion, contact_sheet, plots, theme
from lacvit.report.comparison_plots import (
    SHOTS_FRAME,
    draw_differences,
    draw_over_shots,
    row_names,
    rows_frame,
)
from lacvit.report.frames import Frame, side_by_side, single
from lacvit.report.plots import Curve
from lacvit.report.record import Predictions
from lacvit.report.words import shortened

FRAME = Frame(3, 2, left=0.5, bottom=0.4)


def svg_of(draw, frame=FRAME):
    with theme.drawing():
        figure = single(draw, frame)
    return theme.svg(figure, "test", "a description")


def svg_of_confusion(counts, names):
    return svg_of(lambda axes: plots.draw_confusion(axes, np.asarray(counts), names))


def test_svg_follows_the_scheme_and_names_nothing_outside():
    text = svg_of(lambda axes: plots.draw_curve(axes, Curve("Loss", [1, 2, 3], [3.0, 2.0, 1.5])))
    assert text.startswith('<svg viewBox="')
    assert 'role="img" aria-label="a description"' in text
    assert "var(--right)" in text
    assert "var(--muted)" in text
    assert not re.search(r"#[0-9a-f]{6}\b", text)
    assert "http" not in text
    assert "DejaVu" not in text


def test_ids_of_two_figures_differ():
    def ids(name):
        with theme.drawing():
            figure = single(lambda axes: axes.plot([1, 2], [1, 2], marker="o"), FRAME)
        return set(re.findall(r' id="([^"]+)"', theme.svg(figure, name, "")))

    assert ids("one")
    assert ids("one") == ids("one")
    assert not ids("one") & ids("two")


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "\"'>", "$5 & $6", "$x^$", "猫\n犬", "\ud800"]
)
def test_any_class_name_can_be_drawn(name, tmp_path):
    draw = lambda axes: plots.draw_confusion(axes, np.array([[2, 1], [0, 3]]), [name, "b"])  # noqa: E731
    text = svg_of(draw)
    assert "<script>" not in text
    assert shortened(name, plots.NAME_LETTERS) in html.unescape(text)
    with theme.drawing():
        theme.png(single(draw, FRAME), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_leaks_into_the_callers_settings():
    import matplotlib

    before = dict(matplotlib.rcParams)
    svg_of(lambda axes: plots.draw_curve(axes, Curve("Loss", [1], [3.0])))
    assert dict(matplotlib.rcParams) == before


def test_class_names_that_look_like_markup_stay_as_they_are():
    names = ["v1.23456", "#2166ac", 'id="points-0"', "font: 9px x"]
    text = svg_of_confusion(np.eye(4, dtype=int), names)
    assert [name in html.unescape(text) for name in names] == [True] * 4


@pytest.mark.parametrize("y", [[], [float("nan")], [1.0], [1.0, float("nan"), 2.0]])
def test_curves_with_holes_are_drawn(y):
    curve = Curve("Loss", list(range(len(y))), y, marks={"floor": 0.5})
    assert svg_of(lambda axes: plots.draw_curve(axes, curve)).startswith("<svg")


def test_a_curve_marks_its_best_value_or_its_last():
    curve = Curve(
        "Accuracy", [0.1, 1, 10], [0.5, 0.7, 0.6], percent=True, logarithmic_x=True, best=1
    )
    assert "70.0 %" in svg_of(lambda axes: plots.draw_curve(axes, curve))
    curve = Curve("Accuracy", [1, 2, 3], [math.nan, 0.7, 0.6], percent=True, best=1)
    assert "70.0 %" in svg_of(lambda axes: plots.draw_curve(axes, curve))
    curve = Curve("Accuracy", [1, 2, 3], [math.nan, 0.7, 0.6], percent=True, best=0)
    assert "60.0 %" in svg_of(lambda axes: plots.draw_curve(axes, curve))
    curve = Curve("Accuracy", [1, 2, 3], [0.5, 0.7, 0.6], percent=True)
    assert "60.0 %" in svg_of(lambda axes: plots.draw_curve(axes, curve))


def test_confusion_gives_right_and_wrong_a_colour_each():
    only_right = svg_of_confusion([[4, 0], [0, 4]], ["a", "b"])
    assert "fill: var(--right)" in only_right
    assert "fill: var(--wrong)" not in only_right
    assert "fill: var(--wrong)" in svg_of_confusion([[3, 1], [0, 4]], ["a", "b"])


def test_a_class_without_images_leaves_its_row_empty():
    text = svg_of_confusion([[4, 1], [0, 0]], ["a", "never seen"])
    assert "never seen" in text
    assert len(re.findall("fill-opacity|opacity: ", text)) == 2  # one cell of each colour


def test_many_classes_have_no_names_but_all_their_cells():
    counts = np.eye(100, dtype=int) * 5
    counts[3, 4] = 2
    text = svg_of_confusion(counts, [f"class {i}" for i in range(100)])
    assert "class 1" not in text
    assert "var(--wrong)" in text
    assert len(text) < 30_000


def test_confusion_figures_stay_within_a_page():
    for size in (2, 10, 30, 31, 1000):
        frame = plots.confusion_frame(["猫" * 40] * size)
        assert 2 < frame.width <= 10
        assert frame.width == frame.height


def test_projection_colours_the_key_and_greys_the_others():
    points, labels = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 3
    text = svg_of(lambda axes: plots.draw_projection(axes, points, labels, [2, 0]))
    assert {"points-0", "points-1", "points-other"} == set(re.findall(r"points-\w+", text))
    assert text.count("<use ") == 60
    assert not re.search(r"<use [^>]*style=", text)


def test_many_points_stay_small():
    points, labels = np.random.default_rng(0).normal(size=(2000, 2)), np.arange(2000) % 10
    assert (
        len(svg_of(lambda axes: plots.draw_projection(axes, points, labels, range(10)))) < 200_000
    )


def test_most_confused_pairs_come_in_order():
    labels, predictions = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([0, 1, 1, 1, 2, 2, 0, 0])
    pairs = confusion.most_confused(Predictions(("a", "b", "c"), labels, predictions), 2)
    assert [(p.label, p.prediction, p.count) for p in pairs] == [("a", "b", 2), ("c", "a", 2)]
    assert pairs[0].share == pytest.approx(2 / 3)
    assert confusion.most_confused(Predictions(("a", "b", "c"), labels, labels), 5) == []


def test_confused_classes_are_put_side_by_side():
    partner = np.random.default_rng(0).permutation(40).reshape(20, 2)
    counts = np.eye(40, dtype=int) * 10
    for one, other in partner:
        counts[one, other] = counts[other, one] = 4
    place = np.argsort(confusion.side_by_side(counts))
    assert sorted(place) == list(range(40))
    assert all(abs(place[one] - place[other]) == 1 for one, other in partner)


def test_panels_stand_in_rows_with_a_foot_below():
    frame = Frame(2, 1, left=0.5, bottom=0.25)
    with theme.drawing():
        figure = side_by_side([[lambda axes: None] * 3, [lambda axes: None]], frame, foot=0.5)
    assert tuple(figure.get_size_inches()) == (6, 2.5)
    places = [tuple(axes.get_position().bounds) for axes in figure.axes]
    assert places[0] == pytest.approx((0.5 / 6, 1.75 / 2.5, 1.5 / 6, 0.75 / 2.5))
    assert places[2] == pytest.approx((4.5 / 6, 1.75 / 2.5, 1.5 / 6, 0.75 / 2.5))
    assert places[3] == pytest.approx((0.5 / 6, 0.75 / 2.5, 1.5 / 6, 0.75 / 2.5))


def test_contact_sheet_sets_originals_apart_from_views():
    red = np.full((8, 16, 3), (255, 0, 0), np.uint8)
    blue = np.full((4, 4, 3), (0, 0, 255), np.uint8)
    sheet = contact_sheet([[red, blue, blue], [red, blue, blue]], cell=20)
    assert sheet.mode == "RGBA"
    assert sheet.size == (3 * 20 + 3 * 6, 2 * 20 + 6)  # twice the gap after the original
    pixels = np.asarray(sheet)
    assert pixels[10, 10].tolist() == [255, 0, 0, 255]
    assert pixels[2, 10, 3] == 0  # a wide image leaves room above and below
    assert pixels[10, 22, 3] == 0
    assert pixels[10, 32].tolist() == [0, 0, 255, 255]
    assert pixels[35, 60].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(
    ("rows", "columns", "size"), [(1, 1, (10, 10)), (4, 3, (48, 58)), (2, 5, (80, 26))]
)
def test_contact_sheet_holds_every_image(rows, columns, size):
    image = np.full((10, 10, 3), 9, np.uint8)
    sheet = contact_sheet([[image] * columns] * rows, cell=10)
    assert sheet.size == size
    filled = np.asarray(sheet)[:, :, 3] > 0
    assert filled.sum() == rows * columns * 100
    assert filled[:, -1].any()
    assert filled[-1].any()


@pytest.mark.parametrize(
    ("y", "marks", "below"),
    [
        ([1.0, 2.0, 3.0], {}, False),  # the line comes from below
        ([1.0, 4.0, 2.0], {}, True),  # it falls through where the value would stand
        ([4.0, 2.02, 2.0], {}, False),  # it is flat by then
        ([4.0, 3.0, 2.0], {"floor": 1.9}, False),  # no room below
        ([1.0, 2.0, 3.0], {"top": 3.1}, True),  # nor above
    ],
)
def test_the_last_value_stands_clear_of_its_curve(y, marks, below):
    with theme.drawing():
        figure = single(
            lambda axes: plots.draw_curve(axes, Curve("", [1, 2, 3], y, marks=marks)), FRAME
        )
    value = next(text for text in figure.axes[0].texts if text.get_text() == f"{y[-1]:.3g}")
    assert (value.get_va() == "top") == below


SHOTS_METHODS = ["method 0", "method 1", "method 2"]


def shots_figure(*accuracies_by_cell):
    """Accuracy over 5, 10, ... images a class; None is a method that has not ended there."""
    cells = [
        {
            "shots": 5 * 2**place,
            "methods": [
                {"method": name, "accuracy": value, "interval": [value - 0.1, value + 0.1]}
                for name, value in zip(SHOTS_METHODS, accuracies, strict=True)
                if value is not None
            ],
        }
        for place, accuracies in enumerate(accuracies_by_cell)
    ]
    with theme.drawing():
        figure = single(lambda axes: draw_over_shots(axes, cells, SHOTS_METHODS), SHOTS_FRAME)
        figure.canvas.draw()
    return figure


def test_names_beside_lines_do_not_overlap():
    figure = shots_figure([0.5, 0.6, 0.7], [0.8, 0.801, 0.9])
    boxes = [t.get_window_extent() for t in figure.axes[0].texts]
    assert len(boxes) == 3
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_method_that_has_not_ended_everywhere_is_named_where_its_line_ends():
    texts = shots_figure([0.2, None, 0.7], [0.5, None, None]).axes[0].texts
    assert [text.get_text() for text in texts] == ["method 0", "method 2"]
    assert [text.xy[1] for text in texts] == [50, 70]
    assert {text.get_color() for text in texts} == {theme.light("ink")}  # the line has the colour


def test_a_long_name_of_a_row_is_not_cut():
    names = ["over cross-entropy-refit", "over joint"]
    pairs = [
        {"against": name.removeprefix("over "), "difference": 0.1, "verdict": "better"}
        | {"interval": [-0.1, 0.2]}
        for name in names
    ]
    assert row_names(pairs) == names
    with theme.drawing():
        figure = single(lambda axes: draw_differences(axes, pairs, 0.01), rows_frame(names))
        figure.canvas.draw()
    for label in figure.axes[0].get_yticklabels():
        assert label.get_window_extent().x0 >= 0
