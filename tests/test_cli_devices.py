"""The commands about devices, with what people get wrong."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from clirunner import Cli
from devices.adbd import AdbPhoneFactory
from devices.arm64 import Arm64Factory
from devices.own_runtimes import own_runtime
from devices.processes import wait_until
from devices.sshd import SshdDevice
from leftovers import begin, processes_of
from pseudo_terminal import Screen
from small_models import matmul, measured

from edgewright.profiler.deploy import install_agent
from edgewright.profiler.transports.local import LocalTransport

MODEL = Path(__file__).parent.parent / "examples" / "fashion-mnist" / "model.onnx"


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Cli]:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("EDGEWRIGHT_DEVICES", str(tmp_path / "devices.toml"))
    monkeypatch.setenv("EDGEWRIGHT_DEVICE_DIR", str(tmp_path / "base"))
    monkeypatch.setenv("EDGEWRIGHT_TARGETS", str(tmp_path / "targets"))
    yield Cli(monkeypatch, capsys)


def test_add_list_remove(cli: Cli) -> None:
    assert "edgewright devices add NAME ADDRESS" in cli("devices").out
    assert cli("devices", "add", "pi", "ssh://pi@pi.example", "-t", "raspberry-pi-5").code == 0
    assert cli("devices", "add", "here", "local", "--note", "this one").code == 0
    cli.refuses("devices", "add", "pi", "local", saying="--replace")
    cli.refuses("devices", "add", "a/b", "local", saying="can't be a device's name")
    cli.refuses("devices", "add", "x", "telnet://y", saying="nor an address")
    cli.refuses("devices", "add", "x", "local", "-t", "pi5x", saying="no target is called")
    listed = cli("devices", "list", "--json").json
    assert [d["name"] for d in listed["devices"]] == ["pi", "here"]
    assert listed["devices"][0]["target"] == "raspberry-pi-5"
    assert "this one" in cli("devices", "list").out
    cli.refuses("devices", "remove", "pie", saying="did you mean pi?")
    added = cli("devices", "add", "third", "local", "--json")
    assert added.json["device"]["address"] == "local"
    assert cli("devices", "remove", "third", "--json").json["removed"] == "third"
    assert cli("devices", "remove", "pi").code == 0
    assert [d["name"] for d in cli("devices", "list", "--json").json["devices"]] == ["here"]


def test_a_name_stands_wherever_an_address_can(cli: Cli, tmp_path: Path) -> None:
    cli("devices", "add", "here", "local")
    run = cli("profile", MODEL, "--device", "here", "--no-wait", "--json")
    assert run.code == 0, run
    assert run.json["device"]["address"] == "local"
    cli.refuses("profile", MODEL, "--device", "hree", saying="did you mean here?")
    (tmp_path / "devices.toml").write_text("schema_version = 1\n[devices.here]\n")
    cli.refuses("profile", MODEL, "--device", "here", saying="line 2")


def test_nothing_to_resume(cli: Cli) -> None:
    cli.refuses("profile", MODEL, "--resume", code=3, saying="has no measurement of model.onnx")


def test_the_states_of_devices(
    cli: Cli, sshd_device: SshdDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(sshd_device.ssh_config_path))
    for name, address in [
        ("good", sshd_device.url),
        ("gone", f"ssh://{sshd_device.user}@127.0.0.1:1"),
        ("here", "local"),
    ]:
        cli("devices", "add", name, address)
    rows = cli("devices", "list", "--check", "--json").json["devices"]
    assert [row["state"] for row in rows] == ["reachable", "unreachable", "reachable"]
    assert "refused" in rows[1]["detail"] and rows[1]["hint"]
    assert "unreachable" in cli("devices", "list", "--check").out
    sshd_device.known_hosts_path.write_text("")
    row = cli("devices", "list", "--check", "--json").json["devices"][0]
    assert row["state"] == "host key not accepted"


def test_one_command_in_a_shell(
    cli: Cli, sshd_device: SshdDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(sshd_device.ssh_config_path))
    cli("devices", "add", "board", sshd_device.url)
    script = "echo out; echo err >&2; exit 7"
    for device in ("board", "local"):
        done = cli("devices", "shell", device, "--", "sh", "-c", script)
        assert (done.code, done.out, done.err) == (7, "out\n", "err\n")
    cli.refuses("devices", "shell", "local", "--timeout", "0.2", "--", "sleep", "9", code=3)
    cli.refuses("devices", "shell", "boar", "--", "true", saying="did you mean board?")
    cli.refuses("devices", "shell", "board", saying="needs a terminal")


@pytest.mark.device
def test_a_shell_on_a_terminal(real_sshd_device: SshdDevice) -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgewright", "devices", "shell", real_sshd_device.url],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "EDGEWRIGHT_SSH_CONFIG": str(real_sshd_device.ssh_config_path)},
        start_new_session=True,
    )
    os.close(terminal)
    os.write(controller, b"echo home is $HOME; exit 5\n")
    said = b""
    while True:
        try:
            piece = os.read(controller, 4096)
        except OSError:  # the terminal's last user has gone
            break
        if not piece:
            break
        said += piece
    os.close(controller)
    assert process.wait(20) == 5, said
    assert f"home is {real_sshd_device.home}".encode() in said


def test_a_killed_command_is_resumed(cli: Cli, tmp_path: Path) -> None:
    base = tmp_path / "base"
    with subprocess.Popen(
        [sys.executable, "-m", "edgewright", "profile", MODEL],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_until(lambda: any(base.glob("runs/*/pid")), 60)
        process.kill()
    assert "profile --resume" in cli("devices", "show", "local").out
    resumed = cli("profile", MODEL, "--resume", "--json")
    assert resumed.code == 0 and resumed.json["correctness"]["status"] == "passed"
    assert "picking up the measurement" in resumed.err
    cli.refuses("profile", MODEL, "--resume", code=3, saying="has no measurement of model.onnx")
    cli.refuses("profile", MODEL, "--resume", "--threads", "2", code=3, saying="has no measurement")


def test_clean(cli: Cli, tmp_path: Path) -> None:
    base = tmp_path / "base"
    assert "nothing of Edgewright's" in cli("devices", "clean", "local").out
    cli("devices", "add", "here", "local")
    assert cli("profile", MODEL, "-d", "here").code == 0
    (base / "mine.txt").write_text("not Edgewright's")
    found = cli("devices", "clean", "here", "--dry-run", "--json").json["devices"][0]
    assert found["size_bytes"] > MODEL.stat().st_size and found["processes"] == []
    assert (base / "blobs").is_dir()
    cleaned = cli("devices", "clean", "here")
    assert "freed" in cleaned.out and "mine.txt" in cleaned.out
    assert [path.name for path in base.iterdir()] == ["mine.txt"]
    (base / "mine.txt").unlink()
    cli("profile", MODEL, "-d", "here")
    cli("devices", "add", "gone", "ssh://nobody@127.0.0.1:1")
    both = cli("devices", "clean", "--all", "--json")
    assert both.code == 3
    here, gone = both.json["devices"]
    assert here["size_bytes"] and gone["error"]["type"] == "Unreachable"
    assert not base.exists()
    assert "not cleaned" in cli("devices", "clean", "--all").out
    cli.refuses("devices", "clean", saying="name one device, or give --all")
    cli.refuses("devices", "clean", "here", "--all", saying="name one device")


@pytest.mark.device
def test_trust(cli: Cli, real_sshd_device: SshdDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    device = real_sshd_device
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(device.ssh_config_path))
    known = device.known_hosts_path.read_text()
    device.known_hosts_path.write_text("")
    cli("devices", "add", "board", device.url)
    fails = cli.refuses("devices", "shell", "board", "--", "true", code=3, saying="is unknown")
    assert f"edgewright devices trust {device.url}" in fails.err
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115, PTH123 - nobody is there
    cli.refuses("devices", "trust", "board", saying="--yes")
    assert device.known_hosts_path.read_text() == ""
    done = cli("devices", "trust", "board", "--yes", "--json")
    assert done.json["fingerprint"].startswith("SHA256:")
    assert done.json["fingerprint"] in done.err and "ssh_host_ed25519_key.pub" in done.err
    assert device.known_hosts_path.read_text() == known
    assert cli("devices", "shell", "board", "--", "echo", "hi").out == "hi\n"
    device.change_host_key()
    cli.refuses("devices", "trust", "board", "--yes", code=3, saying="HAS CHANGED")
    cli.refuses("devices", "trust", "local", saying="has no host key")


@pytest.mark.device
@pytest.mark.parametrize("answer", ["y", "n"])
def test_trust_asks(
    answer: str, cli: Cli, real_sshd_device: SshdDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = real_sshd_device
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(device.ssh_config_path))
    device.known_hosts_path.write_text("")
    screen = Screen(sys.executable, "-m", "edgewright", "devices", "trust", device.url)
    screen.wait_for("Is it the same?")
    assert "SHA256:" in screen.text
    screen.type(answer)
    screen.wait_for("is on record with" if answer == "y" else "was not accepted")
    screen.close()
    assert (device.known_hosts_path.read_text() != "") is (answer == "y")


def test_clean_ends_what_runs(cli: Cli, tmp_path: Path) -> None:
    base = tmp_path / "base"
    agent = install_agent(LocalTransport())
    begin(agent, measured(matmul(tmp_path / "m.onnx")), {"name": "ann@lab", "pid": 7})
    assert processes_of(base)
    refused = cli.refuses("devices", "clean", "local", code=3, saying="ann@lab")
    assert "--force" in refused.err
    assert processes_of(base) and base.exists()
    dry = cli("devices", "clean", "local", "--dry-run")
    assert "would end" in dry.out and "ann@lab" in dry.out
    holder = cli("devices", "clean", "local", "--dry-run", "--json").json["devices"][0]["holder"]
    assert holder["models"] == ["m"] and 0 < holder["for_s"] < 120
    assert "ended" in cli("devices", "clean", "local", "--force").out
    assert not processes_of(base) and not base.exists()


def test_show_and_probe_this_machine(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "base"
    cli("devices", "add", "here", "local", "-t", "host", "--note", "this one")
    agent = install_agent(LocalTransport())
    directory = begin(agent, measured(matmul(tmp_path / "m.onnx")), {"name": "ann@lab", "pid": 7})
    shown = cli("devices", "show", "here", "--json").json
    assert shown["device"] == {
        "name": "here", "address": "local", "target": "host", "note": "this one",
    }  # fmt: skip
    assert shown["stored"]["holder"]["name"] == "ann@lab"
    assert [(r["state"], r["models"]) for r in shown["stored"]["runs"]] == [("running", ["m"])]
    assert shown["stored"]["kept"]["blobs"]["size_bytes"] > 10_000
    assert shown["stored"]["directory"] == str(base)
    assert shown["conditions"]["free_memory_bytes"] > 2**20
    text = cli("devices", "show", "here").out
    for words in ("ann@lab (process 7 there) has been measuring m", "profile --resume", "this one"):
        assert words in text
    os.kill(json.loads((directory / "pid").read_text())["pid"], 9)
    wait_until(lambda: not processes_of(base))
    assert "ended without a result" in cli("devices", "show", "local").out
    probed = cli("devices", "probe", "here", "--json").json
    assert probed["profile"] == "host" and probed["differences"] == []
    assert probed["clusters"][0]["count"] >= 1 and probed["facts"]["ram_bytes"] > 2**28
    assert probed["runtimes"]["onnxruntime"] and probed["facts"]["libc"]
    assert "it is what the profile host says" in cli("devices", "probe", "here").out
    other = cli("devices", "probe", "local", "--against", "coral-dev-board", "--json")
    assert other.code == 0 and any("cores" in line for line in other.json["differences"])
    assert "warning: " in cli("devices", "probe", "here", "--against", "coral-dev-board").out
    assert "give --against" in cli("devices", "probe", "local").out
    assert cli("devices", "probe", "local", "--json").json["differences"] is None
    cli.refuses("devices", "probe", "here", "--against", "nonsense", saying="no target is called")
    folder = tmp_path / "profiles"
    monkeypatch.setenv("EDGEWRIGHT_TARGETS", str(folder))
    first = cli("targets", "probe", "local", "--name", "bench", "--json").json
    assert first["kept"] == "written" and first["file"] == str(folder / "bench.toml")
    assert cli("devices", "probe", "local", "--name", "bench", "--json").json["kept"] == "same"
    told = cli("devices", "probe", "local", "--against", "bench").out
    assert "it is what the profile bench says" in told
    text = (folder / "bench.toml").read_text()
    (folder / "bench.toml").write_text(text.replace("count = ", "count = 9"))
    assert "differs; --replace" in cli("targets", "probe", "local", "--name", "bench").out
    assert cli("targets", "probe", "local", "--name", "bench", "--replace").code == 0
    assert cli("targets", "validate", str(folder / "bench.toml")).code == 0
    assert not cli("devices", "probe", "local", "--name", "no", "--dry-run", "--json").json["kept"]
    assert not (folder / "no.toml").exists()
    cli.refuses("devices", "probe", "local", "--name", "No!", saying="can't be a profile's name")
    cli.refuses("devices", "show", "heer", saying="did you mean here?")
    cli.refuses("devices", "show", "ssh://nobody@127.0.0.1:1", code=3, saying="refused")


@pytest.mark.device
def test_probe_an_emulated_board(
    cli: Cli, arm64_device: Arm64Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = arm64_device("modern")
    monkeypatch.setenv("EDGEWRIGHT_SSH_CONFIG", str(board.ssh_config_path))
    monkeypatch.setenv("EDGEWRIGHT_DEVICE_DIR", f"{board.home}/base")
    cli("devices", "add", "pi", board.url, "-t", "raspberry-pi-5")
    probed = cli("devices", "probe", "pi", "--json").json
    [cluster] = probed["clusters"]
    assert (cluster["core"], cluster["count"]) == ("Cortex-A72", 4)
    assert cluster["max_frequency_hz"] in (None, 1_800_000_000)
    assert probed["facts"]["model"].startswith("Raspberry Pi 4") and probed["facts"]["emulated"]
    assert [zone["name"] for zone in probed["zones"]] == ["cpu-thermal"]
    assert {"onnxruntime", "ai_edge_litert"} <= set(probed["runtimes"])
    assert any("lacks dotprod, fp16" in line for line in probed["differences"])
    cleaned = cli("devices", "clean", "pi", "--json").json["devices"][0]
    assert cleaned["size_bytes"] > 10_000 and cleaned["kept"] == []
    assert "nothing of Edgewright's" in cli("devices", "clean", "pi").out


@pytest.mark.device
def test_a_phone(
    cli: Cli, adb_phone: AdbPhoneFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    phone = adb_phone()
    monkeypatch.delenv("EDGEWRIGHT_DEVICE_DIR")
    assert cli("devices", "shell", phone.address, "--", "true").code == 0  # adb knows it now
    [row] = cli("devices", "list", "--check", "--json").json["devices"]
    assert (row["name"], row["address"], row["state"]) == (None, phone.address, "reachable")
    assert f"edgewright devices add NAME {phone.address}" in cli("devices", "list", "--check").out
    assert cli("devices", "add", "phone", phone.address).code == 0
    [row] = cli("devices", "list", "--check", "--json").json["devices"]
    assert (row["name"], row["state"]) == ("phone", "reachable")
    done = cli("devices", "shell", "phone", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n")
    base = "/data/local/tmp/edgewright"
    script = f"mkdir -p {base}/blobs && cp /system/bin/sh {base}/blobs/run"
    assert cli("devices", "shell", "phone", "--", "sh", "-c", script).code == 0
    # Something that was left running, by its name in the directory.
    left = f"sh -c 'sleep 600 & wait' {base}/blobs/agent.pyz worker >/dev/null 2>&1 &"
    assert cli("devices", "shell", "phone", "--", "sh", "-c", left).code == 0
    dry = cli("devices", "clean", "phone", "--dry-run", "--json").json["devices"][0]
    assert dry["directory"] == base and dry["size_bytes"] > 10_000 and dry["processes"]
    cleaned = cli("devices", "clean", "phone", "--json").json["devices"][0]
    assert cleaned["processes"] and cleaned["kept"] == []
    assert "nothing of Edgewright's" in cli("devices", "clean", "phone").out
    refused = cli.refuses("devices", "show", "phone", code=3)
    assert "edgewright runtime build" in refused.err


@pytest.mark.device
@pytest.mark.timeout(600)
def test_a_phone_is_probed_in_a_runtime_of_ours(
    cli: Cli, adb_phone: AdbPhoneFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_runtime(monkeypatch, "aarch64", "onnxruntime")
    phone = adb_phone()
    monkeypatch.delenv("EDGEWRIGHT_DEVICE_DIR")
    cli("devices", "add", "phone", phone.address, "-t", "raspberry-pi-4")
    probed = cli("devices", "probe", "phone", "--json").json
    assert probed["facts"]["architecture"] == "aarch64" and "onnxruntime" in probed["runtimes"]
    assert any("the profile lacks" in line for line in probed["differences"])
    assert "it has 8 cores, the profile says 4" in probed["differences"]
    assert probed["probed"]["os"]["name"] == "android" and probed["kept"] == "written"
    shown = cli("devices", "show", "phone", "--json").json
    assert shown["stored"]["kept"]["runtimes"]["size_bytes"] > 10_000_000
    assert shown["conditions"]["battery"] is not None
    cleaned = cli("devices", "clean", "phone", "--json").json["devices"][0]
    assert cleaned["size_bytes"] > 10_000_000 and cleaned["kept"] == []
    assert not (phone.home / "edgewright").exists()
