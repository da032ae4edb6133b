"""The layers: a room of src/lacvit imports only rooms of a lower number, and few import torch."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lacvit

SOURCE = Path(lacvit.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))

LAYERS = {
    "errors": 0.0,
    "arms": 0.5, "config": 0.6, "input_spec": 0.5, "regime": 0.5,
    "requests": 0.4, "naming": 0.7, "run_folder": 0.5, "lock": 0.5, "evaluated": 0.5,
    "devices": 1.0, "environment": 1.0, "distributed": 0.9, "losses": 1.0, "metrics": 1.0,
    "data": 2.0, "backbones": 2.0,
    "features": 2.5, "neighbour_head": 2.5, "model": 2.6, "downloads": 2.6,
    "training": 3.0, "evaluation": 3.0, "report": 3.0, "model_card": 3.0,
    "planning": 3.4, "forecast": 3.5, "reading": 3.5, "shared": 3.55,
    "staging": 3.6, "settling": 3.65, "outcome": 3.7,
    "progress": 3.5, "pipeline": 4.0, "comparison": 4.5, "api": 4.8,
    "cli": 5.0, "__init__": 5.0, "__main__": 5.5,
}  # fmt: skip

WITHOUT_TORCH = {
    "arms",
    "config",
    "errors",
    "evaluated",
    "input_spec",
    "lock",
    "requests",
    "run_folder",
    "metrics",
    "naming",
    "regime",
    "report",
}
HEAVY = {"torch", "torchvision", "timm", "safetensors.torch", "accelerate"}
# The files of `data` that make tensors; the others are read by `report` and `check`.
DATA_WITH_TORCH = {SOURCE / "data" / f"{name}.py" for name in ("views", "batches")}

# `from lacvit import supcon_loss` names no room: what is loaded for it does.
LAZY = {f"lacvit.{name}": module for name, module in lacvit._PUBLIC.items()}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, in functions and for types too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
            assert "lacvit" not in names, "its attributes come from every room: import one by name"
            yield from names
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield node.module
            if node.module.startswith("lacvit"):
                yield from (f"{node.module}.{name.name}" for name in node.names)


def rooms_imported(path: Path) -> set[str]:
    found = set()
    for module in imports(ast.parse(path.read_text(encoding="utf-8"))):
        parts = LAZY.get(module, module).split(".")
        if parts[0] == "lacvit" and len(parts) > 1 and parts[1] in LAYERS:
            found.add(parts[1])
    return found - {room(path)}


def modules_of(path: Path) -> set[Path]:
    """The files of the same package that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    candidates = (SOURCE.parent / (module.replace(".", "/") + ".py") for module in imports(tree))
    return {candidate for candidate in candidates if candidate.exists()}


def test_every_room_has_a_layer() -> None:
    assert {room(path) for path in FILES} <= LAYERS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_room_imports_only_lower_ones(path: Path) -> None:
    own = LAYERS[room(path)]
    if path == SOURCE / "__init__.py":
        return  # its lazy exports come from everywhere
    for name in rooms_imported(path):
        assert LAYERS[name] < own, f"{path.name} of {room(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_only_the_command_line_prints(path: Path) -> None:
    if room(path) in ("cli", "__main__"):
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        called = node.func if isinstance(node, ast.Call) else None
        assert not (isinstance(called, ast.Name) and called.id == "print"), path


def free_of_torch() -> set[Path]:
    """What must not load torch: some rooms, and in data all that views and batches do not use."""
    data = {path for path in FILES if room(path) == "data"}
    entry_points = {SOURCE / "data" / f"{name}.py" for name in ("readers", "splits", "faults")}
    reached, waiting = set(), set(entry_points)
    while waiting:
        path = waiting.pop()
        reached.add(path)
        waiting |= (modules_of(path) & data) - reached
    assert not reached & DATA_WITH_TORCH
    return reached | {path for path in FILES if room(path) in WITHOUT_TORCH}


@pytest.mark.parametrize(
    "path", sorted(free_of_torch()), ids=lambda path: path.relative_to(SOURCE).as_posix()
)
def test_rooms_without_torch_import_none(path: Path) -> None:
    assert rooms_imported(path) <= WITHOUT_TORCH | {"data"}
    assert not modules_of(path) & DATA_WITH_TORCH
    for module in imports(ast.parse(path.read_text(encoding="utf-8"))):
        top = module.split(".")[0]
        assert top not in HEAVY, f"{path.name} imports {module}"
        assert module not in HEAVY, f"{path.name} imports {module}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import lacvit.pipeline", {"pipeline"}),
        ("from lacvit import pipeline", {"pipeline"}),
        ("def f():\n    from lacvit.cli.main import main", {"cli"}),
        ("from lacvit.errors import InputError\nimport numpy", {"errors"}),
        ("from lacvit import supcon_loss", {"losses"}),
        ("def f():\n    from lacvit import Classifier as C, load, train", {"model", "api"}),
        ("from lacvit import __version__, arms", {"arms"}),
    ],
)
def test_no_form_of_import_escapes(
    text: str, expected: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("test_layers.SOURCE", tmp_path)
    (tmp_path / "lock.py").write_text(text)
    assert rooms_imported(tmp_path / "lock.py") == expected


def test_every_public_name_is_of_a_room() -> None:
    assert {module.split(".")[1] for module in LAZY.values()} <= LAYERS.keys()
    with pytest.raises(AssertionError, match="import one by name"):
        list(imports(ast.parse("import lacvit\nlacvit.train()")))


def test_only_one_file_imports_accelerate() -> None:
    importing = {
        path.relative_to(SOURCE).as_posix()
        for path in FILES
        if any(
            module.split(".")[0] == "accelerate"
            for module in imports(ast.parse(path.read_text(encoding="utf-8")))
        )
    }
    assert importing == {"distributed.py"}


def is_kernel(function: ast.FunctionDef) -> bool:
    """Triton's functions take every pointer and size one by one."""
    return any("triton.jit" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_files_and_functions_stay_small() -> None:
    """A little above the design's 300, 50 and 8: past these, a noun is missing."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 320, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and not (room(path) == "cli" or is_kernel(node)):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"
                arguments = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
                most = 12 if room(path) == "api" else 8  # the public calls take what commands take
                assert len([a for a in arguments if a != "self"]) <= most, f"{path}: {node.name}"
