"""`lacvit backbones`: the list and the inspection."""

import csv
import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
import torch

from lacvit.cli import backbones
from lacvit.cli.main import main


def lines(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    try:
        main(["backbones", *argv])
    except SystemExit as left:
        assert not left.code  # noqa: PT017
    return capsys.readouterr().out.splitlines()


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as left:
        main(["backbones", *argv])
    assert left.value.code == 2
    return capsys.readouterr().err


def test_everything_is_listed_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys)
    assert shown[0].split() == ["name", "parameters", "pixels", "licence", "on", "this", "machine"]
    assert shown[1].split()[:3] == ["pico", "1.2", "M"]
    assert shown[1].endswith("yes")
    row = next(line for line in shown if "timm:vit_small_patch16_224.augreg_in21k " in line)
    assert row.split() == ["timm:vit_small_patch16_224.augreg_in21k", "21.7", "M", "224",
                           "apache-2.0", "no"]  # fmt: skip
    assert any(line.startswith("hf:facebook/dinov2-base ") for line in shown)
    assert len(shown) > 300


@pytest.mark.parametrize(
    ("pattern", "every", "at_least"),
    [("timm:swin*", "timm:swin", 20), ("DINOv3", "dinov3", 5), ("vit_tiny*", "timm:vit_tiny", 3)],
)
def test_a_pattern_chooses(
    pattern: str, every: str, at_least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = lines(capsys, pattern)[1:]
    assert len(shown) >= at_least
    assert all(every in line for line in shown)


def test_programs_get_the_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads("\n".join(lines(capsys, "pico", "--format", "json")))
    assert rows[0] == {
        "spec": "pico",
        "parameters": 1_216_640,
        "pixels": 32,
        "licence": "imagenet, non-commercial",
        "repository": "",
        "on_this_machine": True,
    }


def test_the_table_is_timms_own() -> None:
    from lacvit.backbones.timm_sources import timm

    text = (resources.files("lacvit") / "backbones" / "timm_models.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    for row in rows[:: len(rows) // 40]:
        described = timm.get_pretrained_cfg(row["name"])
        if described is None:  # another timm than the one that was listed
            continue
        assert int(row["input"]) == described.input_size[-1], row["name"]
        assert row["licence"] == (described.license or ""), row["name"]
        assert (described.hf_hub_filename or backbones.WEIGHTS[0]) in backbones.WEIGHTS
    for row in rows:
        if row["name"] == "test_vit.r160_in1k":
            network = timm.create_model("test_vit", num_classes=0)
            assert int(row["parameters"]) == sum(p.numel() for p in network.parameters())
            return
    raise AssertionError("test_vit is not listed")


def test_the_list_needs_no_torch() -> None:
    program = (
        "import sys\nfrom lacvit.cli.main import main\n"
        "try:\n    main(['backbones', 'pico'])\nexcept SystemExit: pass\n"
        "print(sorted({'torch', 'timm', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("no_such_model",), "No backbone's name matches 'no_such_model'."),
        (("inspect",), "Which file? Write: lacvit backbones inspect FILE"),
        (("vit*", "other"), "One pattern at a time, not 'vit*' and 'other'."),
    ],
)
def test_what_cannot_be_answered_is_refused(
    argv: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refusal(capsys, *argv)


def test_a_checkpoint_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lacvit.backbones.inspection import inspect_checkpoint
    from lacvit.backbones.timm_sources import timm

    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=12, depth=2, num_heads=2
    )
    tensors = {k: v for k, v in network.state_dict().items() if not k.startswith("head")}
    path = tmp_path / "mae.pth"
    torch.save({"model": tensors | {"mask_token": torch.zeros(1, 1, 8)}}, path)
    shown = lines(capsys, "inspect", str(path))
    assert shown[0].split() == ["path", str(path)]
    assert any(line.split()[:1] == ["tensors"] for line in shown)
    assert any(line.split()[:1] == ["sha256"] for line in shown)
    told = json.loads("\n".join(lines(capsys, "inspect", str(path), "--format", "json")))
    assert told == inspect_checkpoint(path).model_dump(mode="json")
    assert told["tensors"] == len(tensors) + 1
    asked = lines(capsys, "inspect", f"file:{path}?format=dino")
    (said,) = [line for line in asked if line.startswith("format ")]
    assert said.split() == ["format", "dino"]


def test_picos_size_is_picos() -> None:
    from lacvit.backbones import load_backbone
    from lacvit.cli.backbones import PICO

    backbone = load_backbone("pico")
    assert sum(p.numel() for p in backbone.parameters()) == PICO.parameters
    assert backbone.input_spec.size == PICO.pixels


def put_into_cache(cache: Path, repository: str, files: dict[str, str]) -> None:
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text("abc")
    for name, text in files.items():
        (folder / "snapshots" / "abc" / name).write_text(text)


def test_a_backbone_is_here_when_what_its_loader_takes_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    rows = {row.spec: row for row in backbones.listed()}
    usual = rows["timm:vit_tiny_patch16_224.augreg_in21k"]
    assert not backbones._is_here(usual)
    put_into_cache(tmp_path, usual.repository, {"open_clip_model.safetensors": ""})
    assert not backbones._is_here(usual), "which its loader would not take"
    put_into_cache(tmp_path, usual.repository, {"pytorch_model.bin": ""})
    assert backbones._is_here(usual)

    in_parts = rows["hf:google/vit-base-patch16-224-in21k"]
    index = json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})
    repository = in_parts.spec.removeprefix("hf:")
    put_into_cache(tmp_path, repository, {"model.safetensors.index.json": index})
    put_into_cache(tmp_path, repository, {"1.safetensors": ""})
    assert not backbones._is_here(in_parts)
    put_into_cache(tmp_path, repository, {"2.safetensors": ""})
    assert backbones._is_here(in_parts)
