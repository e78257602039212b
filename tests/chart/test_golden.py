"""The manifests that a reviewer reads are those that the chart renders."""

from tests.chart.golden import FOLDER, golden


def test_golden_manifests_are_fresh() -> None:
    expected = golden()
    assert {path.name for path in FOLDER.iterdir()} == set(expected)
    for name, text in expected.items():
        assert (FOLDER / name).read_text() == text, f"{name}: run `python -m tests.chart.golden`"
