"""What is compiled ahead is what the cycles run, and costs nothing where it fails."""

from tests.experiments import small
from vardax_core.cycling.engine import _compiled_cycles
from vardax_core.experiments.ahead import ProgramsAhead


def test_the_cycles_find_the_program_that_was_compiled_ahead(tmp_path, observed):
    made = small.experiment_of(tmp_path, "oi")
    store = small.ingested_store(made, observed)
    _compiled_cycles.cache_clear()
    with ProgramsAhead() as ahead:
        ahead.begin(made)
        ahead.wait(made)
    assert _compiled_cycles.cache_info().misses == 1
    small.catch_up(made, store)
    assert _compiled_cycles.cache_info().misses == 1
    assert store.tip().cycles == small.CYCLES


def test_what_goes_wrong_is_left_to_the_cycles(tmp_path, caplog):
    made = small.experiment_of(tmp_path, "oi")
    with caplog.at_level("INFO"), ProgramsAhead() as ahead:
        ahead.begin(made)
        ahead.wait(made)
        ahead.wait(made)
    assert "not compiled ahead: StoreNotFoundError" in caplog.text
