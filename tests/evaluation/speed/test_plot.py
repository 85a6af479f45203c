import pytest

from evaluation.speed.plot import MODE_COLOURS, ratios
from evaluation.speed.registry import Group
from evaluation.style import to_png

GROUPS = {"a": Group("First", None, ("plain",)), "b": Group("Second", None, ("step",))}


def record(group, case, mode, median, reference):
    ratio = {"median": median, "low": 0.9 * median, "high": 1.2 * median}
    return {"group": group, "case": case, "mode": mode, "ratios": {reference: ratio, "other": {}}}


def test_bars_show_the_ratios_to_the_first_reference():
    records = [
        record("a", "plain", "train", 1.0, "plain"),
        record("a", "fast", "train", 0.02, "plain"),
        record("a", "fast", "infer", 3.0, "plain"),
        record("b", "step", "stream", 1.0, "step"),
        {"group": "b", "case": "absent", "skipped": "not here"},
    ]
    figure = ratios(records, GROUPS)
    first, second = figure.axes
    assert first.get_title(loc="left") == "First; 1 = plain"
    assert [t.get_text() for t in first.get_yticklabels()] == ["plain", "fast"]
    ends = [bar.get_x() + bar.get_width() for bar in first.patches]
    assert ends == pytest.approx([1.0, 0.02, 3.0])
    assert [t.get_text() for t in first.texts] == ["1", "0.02", "3"]
    assert [t.get_text() for t in second.get_yticklabels()] == ["step"]
    assert first.get_xscale() == "log" and len(MODE_COLOURS) == 3
    assert to_png(figure).startswith(b"\x89PNG")
