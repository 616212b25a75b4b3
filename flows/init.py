"""Flow: the first recipe of a data set, from its files."""

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.data_parameters import DraftParameters
from flows.failures import tell_failure
from flows.naming import begin_run, ended
from vardax_core.data.drafts.write import write_draft


@flow(
    name="init", flow_run_name="init-{draft.name}", persist_result=False, on_failure=[tell_failure]
)
def init(draft: DraftParameters) -> str:
    """Look at files of observations, and write a recipe and a card that can be run.

    Arguments:
        draft: the name of the new data set, and its files.
    """
    begin_run([f"dataset:{draft.name}"])
    logger = get_run_logger()
    made = write_draft(draft.name, draft.files, prior=draft.prior, values=draft.values)
    for text in made.sentences():
        logger.info("%s: %s", draft.name, text)
    recipe = (made.folder / "recipe.yaml").read_text(encoding="utf-8")
    card = (made.folder / "CARD.md").read_text(encoding="utf-8")
    create_markdown_artifact(
        f"{card}\n```yaml\n{recipe}```\n",
        key=f"init-{draft.name}",
        description=f"Recipe and card of {draft.name}",
    )
    return ended(f"written to {made.folder}", str(made.folder))
