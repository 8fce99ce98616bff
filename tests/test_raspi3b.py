"""A whole emulated Raspberry Pi: what the agent reads of a kernel that believes to run on one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from clirunner import Cli
from devices.raspi3b import MODEL, start_raspi3b

from edgewright.profiler.deploy import install_agent
from edgewright.profiler.transports.ssh import SshTransport
from edgewright.targets.load import load_target


@pytest.mark.device
@pytest.mark.timeout(600)
def test_the_agent_reads_a_raspberry_pi(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_TARGETS", str(tmp_path))
    with start_raspi3b() as board:
        monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(board.ssh_config_path))
        with closing(SshTransport(board.url)) as transport:
            agent = install_agent(transport)
            facts, installed = agent.read_facts()
            conditions = agent.ask("conditions")
        probed = Cli(monkeypatch, capsys)("devices", "probe", board.url, "--name", "pi", "--json")
    assert (facts.model, facts.architecture) == (MODEL, "aarch64")
    assert (facts.cpu, facts.cores) == ("4x Cortex-A53", 4)
    assert {"onnxruntime", "ai_edge_litert"} <= set(installed.runtimes)
    # The firmware that would answer for the rest is not emulated.
    assert [zone["name"] for zone in conditions["zones"]] == ["cpu-thermal"]
    assert 0 < conditions["temperature_c"] < 100
    assert "vcgencmd" in conditions["missing"]["throttled"]
    assert probed.code == 0, probed
    made = load_target("pi")
    assert [(cluster.core, cluster.count) for cluster in made.cpu.clusters] == [("Cortex-A53", 4)]
    assert "asimd" in made.cpu.features and "dotprod" not in made.cpu.features
    assert "onnxruntime" in {runtime.name for runtime in made.runtimes}
    assert made.sensors is not None and made.sensors.thermal_zones == ("cpu-thermal",)
