"""The profiles and support tables that are shipped, held against their schema and each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewright.targets.dtypes import BITS
from edgewright.targets.load import load_target
from edgewright.targets.profile import TargetProfile
from edgewright.targets.support_files import support_ids, support_table
from edgewright.targets.support_table import OperatorRule, SupportTable
from edgewright.targets.toml_file import parse_toml, validate_toml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "device_configs").glob("*.toml"))
DEVICES = [path.stem for path in FILES if path.stem != "host"]


def _table(name: str) -> SupportTable:
    table = support_table(name)
    assert table is not None
    return table


def _sources(profile: TargetProfile) -> Iterator[str]:
    groups = [profile.cpu, profile.memory, profile.os, *profile.runtimes, *profile.accelerators]
    yield from (group.source for group in groups)
    if profile.limits is not None:
        yield profile.limits.source


@pytest.mark.parametrize("name", DEVICES)
def test_a_profile_holds_together(name: str) -> None:
    profile = load_target(name)
    assert not profile.probed
    for source in _sources(profile):
        assert len(source) > 10
        assert not source.startswith("probed: ")
    for accelerator in profile.accelerators:
        assert accelerator.precisions
        for support in accelerator.support:
            if (table := support_table(support)) is not None:
                assert table.role == "accelerator", support
                readers = {runtime.name for runtime in profile.runtimes}
                assert not table.runtimes or readers & set(table.runtimes), support
    frequencies = [cluster.max_frequency_hz or 0 for cluster in profile.cpu.clusters]
    assert frequencies == sorted(frequencies, reverse=True)


def test_the_devices_are_of_all_kinds() -> None:
    profiles = [load_target(name) for name in DEVICES]
    assert len(profiles) >= 15
    assert {profile.os.name for profile in profiles} >= {"linux", "android", "none"}
    x86 = [p.cpu.features for p in profiles if p.cpu.architecture == "x86_64"]
    assert any(features & {"avx512_vnni", "avx_vnni"} for features in x86)
    assert any(not features & {"avx512_vnni", "avx_vnni"} for features in x86)
    assert {kind.kind for p in profiles for kind in p.accelerators} >= {"gpu", "npu", "dsp", "tpu"}


def test_a_microcontroller_says_what_its_compiler_needs() -> None:
    board = load_target("alif-ensemble-e7")
    npu = board.accelerators[0]
    assert board.default_accelerator == npu.id
    assert _table(npu.support[0]).oracle == "vela"
    assert set(npu.compiler_options) == {"accelerator_config", "system_config", "memory_mode"}
    assert npu.compiler_options["accelerator_config"].startswith(npu.support[0])
    assert board.memory.flash_bytes is not None
    assert board.measured_runtimes == ()


@pytest.mark.parametrize("name", support_ids())
def test_a_support_table_holds_together(name: str) -> None:
    table = _table(name)
    assert table.id == name
    assert len(table.source) > 10
    for rule in table.operators:
        for kind in (*rule.types, *table.types):
            assert set(kind.split("*")) <= set(BITS), f"{rule.name}: {kind}"
        for least, most in ((rule.min_rank, rule.max_rank), (rule.min_opset, rule.max_opset)):
            assert least is None or most is None or least <= most, rule.name
        for attribute, wanted in rule.attributes.items():
            assert wanted.told != "any", f"{rule.name}: {attribute}"
    # Two rules that say the same would be one thing said twice.
    assert len(set(map(repr, table.operators))) == len(table.operators)
    assert not set(table.unsupported) & set(table.by_operator)


@pytest.mark.parametrize("name", [n for n in support_ids() if _table(n).format == "tflite"])
def test_tflite_operators_and_options_are_the_schemas(name: str) -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    builtins = {n for n in vars(schema.BuiltinOperator) if not n.startswith("_")}
    options = {
        _snake(attribute)
        for class_name, made in vars(schema).items()
        if class_name.endswith("OptionsT") and isinstance(made, type)
        for attribute in vars(made())
    }
    for rule in _rules(name):
        assert rule.name in builtins or rule.name.startswith("custom::"), rule.name
        assert set(rule.attributes) <= options, rule.name


@pytest.mark.parametrize("name", [n for n in support_ids() if _table(n).format == "onnx"])
def test_onnx_operators_attributes_and_opsets_are_the_schemas(name: str) -> None:
    attributes, since = _onnx_operators()
    for rule in _rules(name):
        domain, _, plain = rule.name.rpartition("::")
        assert rule.name in attributes, rule.name
        assert set(rule.attributes) <= attributes[rule.name], rule.name
        if rule.min_opset is not None and not domain:
            assert rule.min_opset in since[plain], f"{rule.name} did not change there"
        if rule.max_opset is not None and not domain:
            assert rule.max_opset + 1 in since[plain], f"{rule.name} did not change there"


def test_a_tables_file_has_the_name_of_its_id() -> None:
    files = sorted((ROOT / "targets" / "support").glob("*.toml"))
    assert tuple(path.stem for path in files) == support_ids()
    for path in files:
        assert validate_toml(parse_toml(path), SupportTable).id == path.stem


def _rules(name: str) -> tuple[OperatorRule, ...]:
    table = _table(name)
    return (*table.operators, *(OperatorRule(name=each) for each in table.unsupported))


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _onnx_operators() -> tuple[dict[str, set[str]], dict[str, set[int]]]:
    """Attributes of every operator that ONNX and ONNX Runtime define, and when they changed."""
    from onnx import defs
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    attributes: dict[str, set[str]] = {}
    since: dict[str, set[int]] = {}
    schemas: list[Any] = [*defs.get_all_schemas_with_history(), *state.get_all_operator_schema()]
    for schema in schemas:
        full = f"{schema.domain}::{schema.name}" if schema.domain else schema.name
        attributes.setdefault(full, set()).update(schema.attributes)
        if not schema.domain:
            since.setdefault(schema.name, set()).add(schema.since_version)
    return attributes, since
