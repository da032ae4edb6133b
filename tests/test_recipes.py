"""The paper's recipes: each parses, plans on stand-ins of the right shape, and trains a step."""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import original_files
from lacvit import pipeline, planning
from lacvit.backbones import formats, load_backbone, timm_models
from lacvit.cli.main import main
from lacvit.config import flatten, make_settings, read_recipe
from lacvit.data.batches import Batch, ViewPlan
from lacvit.data.named_sets import NAMED_SETS
from lacvit.training import contrastive, head
from set_trees import TREES

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes" / "paper").glob("*.toml"))
SETS = ("cifar10", "cifar100", "cub200", "flowers102", "oxford-pets")
DROP_PATH = {"mae": 0.1, "simmim": 0.1, "data2vec": 0.2, "vit": 0.0}
WIDTH = 192  # small; no MAE of this width was published, so its heads are made known here


def write_timm_folder(folder: Path) -> None:
    """A model as timm saves it for a hub: its architecture and a file of weights."""
    arguments = {
        "img_size": original_files.SIZE,
        "patch_size": original_files.PATCH,
        "embed_dim": 8 * original_files.HEADS,
        "depth": original_files.DEPTH,
        "num_heads": original_files.HEADS,
    }
    torch.manual_seed(0)
    model = timm_models.timm.create_model("vit_base_patch16_224", num_classes=0, **arguments)
    timm_models.timm.models.save_for_hf(model, folder, model_args=arguments)


# Family -> writes a small file of the format that its recipes name. A name of timm means the whole
# model, so those recipes alone are given a folder in its place.
STAND_INS: dict[str, Callable[[Path], object]] = {
    "mae": lambda path: original_files.mae_tuned(path, original_files.Draw(0)),
    "simmim": lambda path: original_files.simmim_tuned(path, original_files.Draw(0)),
    "data2vec": lambda path: original_files.data2vec_tuned(path, original_files.Draw(0)),
    "vit": write_timm_folder,
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for name in SETS:
        TREES[name](folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder ``weights`` that the recipes name, and in it what they name."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(original_files, "WIDTH", WIDTH)
        for family, write in STAND_INS.items():
            write(folder / named_file(ROOT / "recipes" / "paper" / f"{family}-cub200.toml"))
    return folder


@pytest.fixture
def place(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the weights in it."""
    known = replace(formats.FORMATS["mae"], heads={WIDTH: original_files.HEADS})
    monkeypatch.setitem(formats.FORMATS, "mae", known)
    (tmp_path / "weights").symlink_to(weights)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named_file(recipe: Path) -> str:
    source, _, name = make_settings(recipe=read_recipe(recipe)).backbone.spec.partition(":")
    return name.removeprefix("weights/") if source == "file" else source


def command(recipe: Path, sets: Path) -> list[str]:
    """As the recipe's header has it; only a name of timm is replaced."""
    argv = ["train", "--recipe", str(recipe), "--root", str(sets), "--quiet"]
    return argv + ["--backbone", "timm:weights/timm"] * (named_file(recipe) == "timm")


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
    assert head.batch_size == 128
    assert settings.precision == "fp32"
    assert settings.backbone.drop_path == DROP_PATH[family_of(recipe)]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_weak_baseline_is_the_published_one_with_every_recipe(recipe: Path) -> None:
    arm = "cross-entropy-paper"
    settings = make_settings(recipe=read_recipe(recipe), flags={"method": arm})
    resolved = planning.resolve(settings, load_backbone("pico"))
    stage, views = resolved.cross_entropy, resolved.views
    assert (stage.epochs, stage.batch_size, stage.optimizer, stage.lr) == (100, 128, "sgd", 0.01)
    assert (stage.weight_decay, stage.decay_all, stage.layer_decay) == (1e-4, True, 1.0)
    assert (stage.warmup, stage.clip_norm, stage.label_smoothing) == (0.0, 0.0, 0.0)
    assert stage.head_init == "random"
    assert (views.crop_scale, views.flip) == ((0.2, 1.0), 0.5)
    assert (views.jitter_probability, views.grey_probability) == (0.0, 0.0)
    assert (resolved.method, resolved.precision) == (arm, "fp32")
    assert resolved.backbone.drop_path == DROP_PATH[family_of(recipe)]
    again = make_settings(recipe=flatten(resolved.model_dump()))
    assert again == resolved


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_header_says_how_to_run_it_and_what_to_expect(recipe: Path) -> None:
    text = recipe.read_text(encoding="utf-8")
    header = text.partition("\n\n")[0]
    command = f"lacvit train --recipe recipes/paper/{recipe.name} --root SETS"
    assert re.search(rf"^# Command:  {re.escape(command)}$", header, re.MULTILINE)
    for word in ("Weights", "Hardware", "Time", "Expected"):
        assert re.search(rf"^# {word}: +\S", header, re.MULTILINE), word
    assert tomllib.loads(text)["method"] == "lacvit"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_dry_run_plans_it(
    recipe: Path, sets: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code([*command(recipe, sets), "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "Stage contrastive: 500 epochs, 500 steps" in text
    assert "Stage head: 100 epochs, 100 steps" in text
    assert f"{recipe.stem.partition('-')[2]} is not the whole " in text
    assert [path.name for path in place.iterdir()] == ["weights"]


@pytest.mark.parametrize("family", STAND_INS)
def test_a_step_of_both_stages_runs(
    family: str, sets: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "write_report", lambda folder: folder / "report.html")
    shown: dict[str, list[tuple[float, ...]]] = {"contrastive": [], "head": []}
    for stage, module in (("contrastive", contrastive), ("head", head)):
        monkeypatch.setattr(module, "view_batches", noting(shown[stage], module.view_batches))
    recipe = ROOT / "recipes" / "paper" / f"{family}-cub200.toml"
    epochs = ["--epochs", "1", "--head-epochs", "1"]
    assert exit_code([*command(recipe, sets), *epochs, "--output", "run"]) == 0
    for stage in ("contrastive", "head"):
        assert len((place / "run" / stage / "metrics.jsonl").read_text().splitlines()) == 1
    # Two coloured views train the encoder, one that is cropped and flipped the head.
    assert shown == {"contrastive": [(2, 0.2, 0.5, 0.8, 0.2)], "head": [(1, 0.2, 0.5, 0.0, 0.0)]}


def noting(
    shown: list[tuple[float, ...]], draw: Callable[..., Iterator[Batch]]
) -> Callable[..., Iterator[Batch]]:
    """``view_batches``, which also notes how the views are drawn."""

    def noted(images: object, labels: object, plan: ViewPlan, *rest: object) -> Iterator[Batch]:
        done = plan.augmentation
        least, _ = done.crop_scale
        probabilities = (done.flip, done.jitter_probability, done.grey_probability)
        shown.append((plan.views, least, *probabilities))
        return draw(images, labels, plan, *rest)

    return noted
