"""Settings of Prefect that hold for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.context import SettingsContext, get_settings_context


@contextmanager
def setting(group: str, name: str, value: Any) -> Iterator[None]:
    """One setting of Prefect has another value inside.

    Prefect's own `temporary_settings` reads every variable and file again and checks all settings:
    60 ms of a processor each time, and much more beside busy threads.

    Arguments:
        group, name: where it is among Prefect's settings, such as `client`, `max_retries`.
        value: not checked.
    """
    context = get_settings_context()
    part = getattr(context.settings, group).model_copy(update={name: value})
    changed = context.settings.model_copy(update={group: part})
    with SettingsContext(profile=context.profile, settings=changed):
        yield
