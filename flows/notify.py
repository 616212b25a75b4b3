"""Set up who is told of alerts: the webhook of `VARDAX_WEBHOOK`, on the server of
`PREFECT_API_URL`; run as `python -m flows.notify`."""

import os
import string
import sys
from uuid import UUID

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import Automation, AutomationCore
from pydantic import SecretStr, ValidationError

from flows.environment import WEBHOOK_VARIABLE
from vardax_core.data.yamlfile import read_yaml
from vardax_core.paths import home

BLOCK = "vardax-alerts"
FILE = home() / "deployments" / "alerts.yaml"


class WebhookError(ValueError):
    """A URL that no webhook can have."""


def automation(block: UUID) -> AutomationCore:
    """The automation of `deployments/alerts.yaml` that calls a block."""
    text = string.Template(FILE.read_text()).substitute(WEBHOOK=block)
    return AutomationCore.model_validate(read_yaml(text))


def set_up(url: str) -> UUID:
    """Make the webhook block, and the automation that calls it; both are replaced if there.

    Raises:
        WebhookError: `url` is no http or https URL.
    """
    if not url.startswith(("http://", "https://")):
        raise WebhookError(f"{WEBHOOK_VARIABLE}: expected an http or https URL, got no such thing.")
    headers = {"Content-Type": "application/json"}
    webhook = Webhook.model_validate({"url": SecretStr(url), "headers": headers})
    block: UUID = webhook.save(BLOCK, overwrite=True)  # type: ignore[assignment]
    wanted = automation(block)
    with get_client(sync_client=True) as client:
        known = _known(client, wanted.name)
        if known is None:
            return client.create_automation(wanted)
        body = wanted.model_dump(mode="json", exclude_unset=True)
        path = {"id": known.id}
        answer = client.request("PUT", "/automations/{id}", path_params=path, json=body)
        answer.raise_for_status()
        return known.id


def _known(client: SyncPrefectClient, name: str) -> Automation | None:
    answer = client.request("POST", "/automations/filter", json={})
    answer.raise_for_status()
    found = [Automation.model_validate(made) for made in answer.json()]
    return next((made for made in found if made.name == name), None)


if __name__ == "__main__":
    try:
        set_up(os.environ[WEBHOOK_VARIABLE])
    except (WebhookError, ValidationError) as error:
        sys.exit(str(error))
