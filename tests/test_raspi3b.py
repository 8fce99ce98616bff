"""A whole emulated Raspberry Pi: what the agent reads of a kernel that believes to run on one."""

from __future__ import annotations

from contextlib import closing

import pytest
from devices.raspi3b import MODEL, start_raspi3b

from edgewright.profiler.deploy import install_agent
from edgewright.profiler.transports.ssh import SshTransport


@pytest.mark.device
@pytest.mark.timeout(300)
def test_the_agent_reads_a_raspberry_pi(monkeypatch: pytest.MonkeyPatch) -> None:
    with start_raspi3b() as board:
        monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(board.ssh_config_path))
        with closing(SshTransport(board.url)) as transport:
            agent = install_agent(transport)
            facts, installed = agent.read_facts()
            conditions = agent.ask("conditions")
    assert (facts.model, facts.architecture) == (MODEL, "aarch64")
    assert (facts.cpu, facts.cores) == ("4x Cortex-A53", 4)
    assert {"onnxruntime", "ai_edge_litert"} <= set(installed.runtimes)
    # The firmware that would answer for the rest is not emulated.
    assert [zone["name"] for zone in conditions["zones"]] == ["cpu-thermal"]
    assert 0 < conditions["temperature_c"] < 100
    assert "vcgencmd" in conditions["missing"]["throttled"]
