"""A picture of how the losses of a training went."""

from pathlib import Path

from matplotlib.figure import Figure

from vardax_core.training.fit import FitResult


def save_loss_curve(result: FitResult, path: str | Path) -> None:
    """Draw training and validation loss against the step, with the step that was kept."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(result.steps, result.training_loss, label="training", color="#0072B2")
    axes.plot(result.steps, result.validation_loss, label="validation", color="#D55E00")
    axes.axvline(
        result.best_step, color="0.5", linestyle=":", label=f"kept: step {result.best_step}"
    )
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (standard units)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
