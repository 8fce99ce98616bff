"""What a device is and does while a tool of others measures."""

from __future__ import annotations

from typing import Any

from ...errors import RuntimeMissing
from ...targets.profile import Format
from ..arrival import arrive
from ..deploy import Agent, install_agent
from ..job import MeasureSettings
from ..result import Conditions, DeviceFacts
from ..transports.base import Transport

# What is on a phone without Python. A line each: machine, kernel, host, cores, model.
_FACTS = """
uname -m; uname -r; uname -n; grep -c '^processor' /proc/cpuinfo
if command -v getprop >/dev/null 2>&1
then printf '%s %s' "$(getprop ro.product.manufacturer)" "$(getprop ro.product.model)"
else tr -d '\\0' </proc/device-tree/model
fi 2>/dev/null
"""


class Observer:
    """What the device is and does, by the agent where there is a Python, else what `sh` can say."""

    def __init__(
        self,
        transport: Transport,
        model_format: Format,
        settings: MeasureSettings,
        journal: list[str],
    ) -> None:
        """Brings the agent, if it can run there; `journal` takes what is sent, as `deploy` does."""
        self.missing: dict[str, str] = {}
        self._agent: Agent | None = None
        try:
            self._agent = _bring_agent(transport, model_format, settings, journal)
            self.facts, _ = self._agent.read_facts()
            self.missing["conditions_during"] = "the device is left alone while the tool runs"
        except RuntimeMissing as error:
            self.missing["conditions"] = f"they are read with Python: {error.message}"
            self.facts = _plain_facts(transport)

    def look(self, taken: str) -> Conditions | None:
        if self._agent is None:
            return None
        document: dict[str, Any] = self._agent.ask("conditions")
        return Conditions(**{**document, "taken": taken})


def _bring_agent(
    transport: Transport, model_format: Format, settings: MeasureSettings, journal: list[str]
) -> Agent:
    """In the device's Python, whatever that can run else, or in a runtime that was built for it."""
    try:
        return install_agent(transport, base=settings.base, python=settings.python, journal=journal)
    except RuntimeMissing:
        return arrive(
            transport, (model_format,), settings, lambda action: action(), journal=journal
        ).agent


def _plain_facts(transport: Transport) -> DeviceFacts:
    lines = transport.run(["sh", "-c", _FACTS]).stdout.splitlines()
    machine, kernel, host, cores, model = (*(line.strip() or None for line in lines), *5 * [None])[
        :5
    ]
    return DeviceFacts(
        address=transport.address,
        model=model,
        hostname=host,
        architecture=machine,
        kernel=kernel,
        cores=int(cores) if cores and cores.isdigit() and int(cores) else None,
        missing={
            "cpu": "not read without Python on the device",
            "emulated": "not looked for without Python on the device",
        },
    )
