"""What each stage script imports and reads, found by walking its syntax; `python -m tests.code_deps` rewrites dvc.yaml.

Used by test_dvc_graph.py, which fails when dvc.yaml and the code disagree.
"""

import ast
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
# Their values are declared key by key under `params`, or they do not shape a result.
UNDECLARED = {f"pipeline/{name}.py" for name in ("agreement", "params", "sections", "errors", "scratch")}


def script_of(body: Mapping[str, Any]) -> Path:
    """The script that a stage's command runs."""
    name = re.search(r"python -m stages\.(\w+) ", body["cmd"])
    assert name, body["cmd"]
    return ROOT / "stages" / f"{name[1]}.py"


def code_deps(script: Path) -> list[str]:
    """Every module of pipeline/ that a script imports, directly or not, and the files that lie beside them."""
    seen: set[Path] = set()
    queue = [script]
    while queue:
        file = queue.pop()
        if file in seen:
            continue
        seen.add(file)
        queue.extend(_imports(file))
    found = {str(file.relative_to(ROOT)) for file in seen}
    found |= {name for file in seen for name in _files_named_in(file)}
    return sorted(found - UNDECLARED)


def _imports(file: Path) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    modules = [ROOT / (name.replace(".", "/") + ".py") for name in names if name.startswith("pipeline")]
    return [module for module in modules if module.is_file()]


def _files_named_in(module: Path) -> list[str]:
    """Files and folders beside a module that its source names and that are not Python."""
    source = module.read_text()
    beside = [p for p in module.parent.iterdir() if p.suffix != ".py" and p.name != "__pycache__"]
    data = [p for p in beside if p.is_file() or not (p / "__init__.py").exists()]
    return [str(p.relative_to(ROOT)) for p in data if f'"{p.name}"' in source]


def keys_read(script: Path) -> tuple[set[str], set[str]]:
    """The keys of params.yaml and of the profile that a stage script hands on."""
    function = next(n for n in ast.parse(script.read_text()).body if isinstance(n, ast.FunctionDef))
    names: dict[str, str] = {}
    used: set[str] = set()
    for statement in function.body:
        if isinstance(statement, ast.Assign):
            for target, value in _pairs(statement):
                if path := _path(value, names):
                    names[target] = path
                else:
                    used |= _loads(value, names)
        else:
            used |= _loads(statement, names)
    paths = set().union(*(_keys(path) for path in used), set())
    run = {"*"} if "run" in paths else {p.removeprefix("run.") for p in paths if p.startswith("run.")}
    return outermost(run), outermost({p.removeprefix("profile.") for p in paths if p.startswith("profile.")})


def outermost(keys: set[str]) -> set[str]:
    """Drops the keys that lie inside another key of the set."""
    return {key for key in keys if not any(key.startswith(f"{other}.") for other in keys)}


def _pairs(statement: ast.Assign) -> list[tuple[str, ast.expr]]:
    target, value = statement.targets[0], statement.value
    if not isinstance(target, ast.Tuple):
        return [(target.id, value)] if isinstance(target, ast.Name) else []
    names = [element.id for element in target.elts if isinstance(element, ast.Name)]
    if isinstance(value, ast.Tuple):
        return list(zip(names, value.elts, strict=True))
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "read_params":
        return [(name, ast.Attribute(value, part)) for name, part in zip(names, ("run", "profile"), strict=True)]
    return []


def _path(node: ast.AST, names: dict[str, str]) -> str | None:
    """`params.run.pretrain` as "run.pretrain"; None for anything that is not such a chain."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "read_params":
        return "params"
    if isinstance(node, ast.Subscript):
        return _path(node.value, names)
    if isinstance(node, ast.Attribute):
        base = _path(node.value, names)
        return None if base is None else (node.attr if base == "params" else f"{base}.{node.attr}")
    return None


def _loads(node: ast.AST, names: dict[str, str]) -> set[str]:
    """The longest chains of parameters below a node."""
    path = _path(node, names)
    if path is not None:
        return {path}
    return set().union(*(_loads(child, names) for child in ast.iter_child_nodes(node)), set())


def _keys(path: str) -> set[str]:
    """Those that are made of two: `encoder`, the resolved name; `report_keys`; a pack with its preparation."""
    if path == "encoder":
        return {"run.model.encoder", "profile.encoder.default"}
    if path == "report_keys":
        return {"run.pretrain.cohorts", "profile.annotations"}
    if path.startswith("profile.baselines"):  # declared by the baseline's name, whole
        return {"profile.baselines"}
    if path == "profile.pack_for":
        return {"profile.pack.shards", "profile.preparations"}
    if path == "profile.pack" or path.startswith("profile.pack."):
        named = "profile.pack" if path == "profile.pack" else "profile.pack.preparation"
        return {named, "profile.preparations"}
    return {path}


def write_code_deps() -> None:
    """Rewrites the code deps of every stage in dvc.yaml, comments and order kept."""
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    file = ROOT / "dvc.yaml"
    dag = yaml.load(file)
    for stage in dag["stages"].values():
        body = stage.get("do", stage)
        kept = [dep for dep in body.get("deps", []) if not re.match(r"(stages|pipeline)/", dep)]
        body["deps"] = kept + code_deps(script_of(body))
    with file.open("w") as stream:
        yaml.dump(dag, stream)


if __name__ == "__main__":
    sys.exit(write_code_deps())
