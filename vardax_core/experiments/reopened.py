"""The experiment that a store was made for, from what the store says of itself."""

from pathlib import Path

from vardax_core.data import load_recipe
from vardax_core.experiments.experiment import Experiment
from vardax_core.experiments.settings import ExperimentSettings
from vardax_core.store import ExperimentStore


class ChangedExperimentError(ValueError):
    """A store whose recipe or method is not what it was made with."""


def reopened(store: ExperimentStore, root: Path) -> Experiment:
    """Make the experiment of a store again.

    Arguments:
        store: of an experiment.
        root: folder of all runs, in which its trained weights are.

    Raises:
        RecipeError: its recipe is not there.
        ChangedExperimentError: it was made with another recipe, or by another version.
    """
    record = store.experiment
    recipe = load_recipe(str(record["dataset"]))
    group, _, _ = str(record["name"]).partition("/")
    if recipe.network.draw is not None:
        draw = group.removeprefix(f"{recipe.name}-draw")
        recipe = recipe.with_draw(int(draw)) if draw.isdigit() else recipe
    made = Experiment(recipe, ExperimentSettings(**record["settings"]), root)
    if made.digest != record["digest"]:
        raise ChangedExperimentError(
            f"{store.location}: expected the recipe '{recipe.name}' and the settings that it was "
            "made with, got others; bring back the recipe, or make the store again."
        )
    return made
