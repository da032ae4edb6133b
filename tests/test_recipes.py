"""The paper's recipes: each parses, plans on stand-ins of the right shape, and trains a step."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import original_files
from lacvit import pipeline
from lacvit.backbones import timm_models
from lacvit.cli.main import main
from lacvit.config import make_settings, read_recipe
from lacvit.data.named_sets import NAMED_SETS
from set_trees import TREES

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes" / "paper").glob("*.toml"))
SETS = ("cifar10", "cifar100", "cub200", "flowers102", "oxford-pets")
WIDTH = original_files.WIDTH


def write_timm_folder(folder: Path) -> str:
    """A model as timm saves it for a hub: its architecture and a file of weights."""
    arguments = {
        "img_size": original_files.SIZE,
        "patch_size": original_files.PATCH,
        "embed_dim": WIDTH,
        "depth": original_files.DEPTH,
        "num_heads": original_files.HEADS,
    }
    torch.manual_seed(0)
    model = timm_models.timm.create_model("vit_base_patch16_224", num_classes=0, **arguments)
    timm_models.timm.models.save_for_hf(model, folder, model_args=arguments)
    return f"timm:{folder}"


def original(write: Callable[[Path, original_files.Draw], object]) -> Callable[[Path], str]:
    def write_file(path: Path) -> str:
        write(path, original_files.Draw(0))
        return f"file:{path}?heads={original_files.HEADS}"

    return write_file


# Family -> writes a small file of the format that its recipes name, and says how it is named.
STAND_INS: dict[str, Callable[[Path], str]] = {
    "mae": original(original_files.mae_tuned),
    "simmim": original(original_files.simmim_tuned),
    "data2vec": original(original_files.data2vec_tuned),
    "vit": write_timm_folder,
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for name in SETS:
        TREES[name](folder)
    return folder


@pytest.fixture(scope="module")
def specs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    return {family: write(folder / family) for family, write in STAND_INS.items()}


def family_of(recipe: Path) -> str:
    return recipe.stem.partition("-")[0]


def exit_code(argv: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(argv)
    return int(left.value.code or 0)


def test_every_family_has_every_set() -> None:
    assert {recipe.stem for recipe in RECIPES} == {f"{f}-{s}" for f in STAND_INS for s in SETS}
    assert set(SETS) <= NAMED_SETS.keys()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_settings_are_the_published_ones(recipe: Path) -> None:
    settings = make_settings(recipe=read_recipe(recipe))
    stage, head, views = settings.contrastive, settings.head, settings.views
    assert settings.data.path == recipe.stem.partition("-")[2]
    assert (stage.epochs, stage.batch_size, stage.optimizer, stage.lr) == (500, 128, "sgd", 0.001)
    assert (stage.weight_decay, stage.decay_all, stage.layer_decay) == (1e-4, True, 1.0)
    assert (stage.warmup, stage.clip_norm, stage.temperature) == (0.0, 0.0, 0.1)
    assert stage.loss_scale == pytest.approx(0.1 / 0.07, rel=1e-6)
    assert (views.count, views.crop_scale, views.flip) == (2, (0.2, 1.0), 0.5)
    assert (views.brightness, views.contrast, views.saturation, views.hue) == (0.4, 0.4, 0.4, 0.1)
    assert (views.jitter_probability, views.grey_probability) == (0.8, 0.2)
    assert (head.solver, head.features, head.epochs, head.lr) == ("sgd", "live", 100, 0.1)
    drop_path = {"mae": 0.1, "simmim": 0.1, "data2vec": 0.2, "vit": 0.0}
    assert settings.backbone.drop_path == drop_path[family_of(recipe)]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_header_says_how_to_run_it_and_what_to_expect(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    header = text.partition("\n\n")[0]
    command = f"lacvit train --recipe recipes/paper/{recipe.name} --root SETS"
    assert re.search(rf"^# Command:  {re.escape(command)}$", header, re.MULTILINE)
    for word in ("Weights", "Hardware", "Time", "Expected"):
        assert re.search(rf"^# {word}: +\S", header, re.MULTILINE), word
    assert tomllib.loads(text)["method"] == "lacvit"


# Every family on one set, and one family on every set: the recipes differ in nothing else.
CROSS = [recipe for recipe in RECIPES if family_of(recipe) == "mae" or "cub200" in recipe.stem]


@pytest.mark.parametrize("recipe", CROSS, ids=lambda path: path.stem)
def test_dry_run_plans_it(
    recipe: Path,
    sets: Path,
    specs: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["train", "--recipe", str(recipe), "--root", str(sets), "--dry-run", "--quiet"]
    assert exit_code([*argv, "--backbone", specs[family_of(recipe)]]) == 0
    text = capsys.readouterr().out
    assert "Stage contrastive: 500 epochs, 500 steps" in text
    assert "Stage head: 100 epochs, 100 steps" in text
    assert f"{recipe.stem.partition('-')[2]} is not the whole " in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", STAND_INS)
def test_a_step_of_both_stages_runs(
    family: str, sets: Path, specs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "write_report", lambda folder: folder / "report.html")
    recipe = ROOT / "recipes" / "paper" / f"{family}-cub200.toml"
    argv = ["train", "--recipe", str(recipe), "--root", str(sets), "--quiet", "--epochs", "1"]
    argv += ["--head-epochs", "1", "--backbone", specs[family], "--output", str(tmp_path / "run")]
    assert exit_code(argv) == 0
    for stage in ("contrastive", "head"):
        assert len((tmp_path / "run" / stage / "metrics.jsonl").read_text().splitlines()) == 1
