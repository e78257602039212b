"""docs/settings.md says what the processes read."""

from tools import settings


def test_the_settings_page_is_fresh() -> None:
    assert settings.PATH.read_text() == settings.page()
