"""A later package may import an earlier one, never the reverse; slow libraries stay where they are used."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = [
    "dicom", "cohorts", "reports", "shards", "metrics", "models", "objectives", "training", "downstream", "evaluation",
]  # fmt: skip
MODULES = sorted(p for p in (ROOT / "pipeline").rglob("*.py") if p.name != "__init__.py")


def imports(file: Path) -> set[str]:
    """Dotted names of every module a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_package_imports_only_earlier_ones(module: Path) -> None:
    package = module.parent.relative_to(ROOT / "pipeline").parts
    own = ORDER.index(package[0]) if package else -1
    for name in imports(module):
        parts = name.split(".")
        if parts[0] == "pipeline" and len(parts) > 1 and parts[1] in ORDER:
            assert ORDER.index(parts[1]) <= own, f"{module.name} imports {name}"


def test_only_generate_imports_vllm() -> None:
    importers = {m.name for m in MODULES if any(n.split(".")[0] == "vllm" for n in imports(m))}
    assert importers == {"generate.py"}


def test_no_module_unpickles_or_trusts_remote_code() -> None:
    for module in MODULES:
        tree = ast.parse(module.read_text())
        assert not {"pickle", "joblib.load", "dill"} & imports(module), module
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
            keywords = {k.arg: k.value for k in call.keywords}
            # left out, some of transformers' loaders ask at the terminal
            assert ast.unparse(keywords.get("trust_remote_code", ast.Constant(False))) == "False", module
            if ast.unparse(call.func) == "torch.load":
                assert ast.unparse(keywords["weights_only"]) == "True", module
            assert "shell" not in keywords, f"{module}: a shell string"


def test_inits_are_empty() -> None:
    assert all(not p.read_text() for p in (ROOT / "pipeline").rglob("__init__.py"))


@pytest.mark.parametrize("script", sorted((ROOT / "stages").glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_a_stage_script_is_short_and_has_no_logic(script: Path) -> None:
    assert len(script.read_text().splitlines()) < 40
    main = next(n for n in ast.parse(script.read_text()).body if isinstance(n, ast.FunctionDef))
    assert not any(isinstance(n, ast.If | ast.For | ast.While | ast.Try) for n in ast.walk(main))


@pytest.mark.parametrize("module", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_opens_with_its_purpose(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text())), module
