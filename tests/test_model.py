"""A saved model: moved, damaged, unfinished, and used on files."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.special import softmax

from lacvit.backbones import load_backbone
from lacvit.config import make_settings
from lacvit.data.decoding import encode_png
from lacvit.errors import InputError
from lacvit.model import Classifier, load, read_image
from lacvit.model_card import model_card
from lacvit.training.heads import fresh_head

NAMES = ("cat, wild", "dög", "owl")


def made(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    backbone = load_backbone("pico")
    head = fresh_head(backbone.dim, len(NAMES))
    with torch.no_grad():
        head.weight.mul_(50)
    return Classifier(backbone, head, NAMES)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    paths = [folder / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(encode_png(draw.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)))
    return paths


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    made().save(tmp_path / "run" / "model", card="# A card\n")
    return tmp_path / "run"


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        load(path, device="cpu")
    return str(refused.value)


def test_a_moved_model_answers_alike(saved: Path, pictures: list[Path], tmp_path: Path) -> None:
    expected, features = made().predict(pictures), made().embed(pictures)
    moved = tmp_path / "elsewhere" / "anything"
    shutil.copytree(saved / "model", moved)
    from_run = load(saved, device="cpu")
    shutil.rmtree(saved)
    for model in (from_run, load(moved, device="cpu"), load(str(moved), device="cpu")):
        assert model.predict(pictures) == expected
        np.testing.assert_array_equal(model.embed(pictures), features)
        assert model.class_names == NAMES
        assert model.input_spec.size == 32
        assert model.backbone.origin.spec == "pico"
        assert not model.backbone.training
    assert sorted(p.name for p in moved.iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    assert (moved / "README.md").read_text() == "# A card\n"


def test_a_prediction_is_the_softmax_of_the_head(pictures: list[Path]) -> None:
    model = made()
    features = model.embed(pictures)
    assert features.shape == (5, model.backbone.dim)
    assert features.dtype == np.float32
    weight, bias = (p.detach().double().numpy() for p in (model.head.weight, model.head.bias))
    logits = features @ weight.T + bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    expected = odds / odds.sum(1, keepdims=True)
    for path, given, row in zip(pictures, model.predict(pictures, top=2), expected, strict=True):
        assert given.path == str(path)
        assert given.label == NAMES[row.argmax()]
        assert given.probability == pytest.approx(row.max(), abs=1e-5)
        assert given.top[0] == (given.label, given.probability)
        assert [p for _, p in given.top] == pytest.approx(sorted(row)[:0:-1], abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_batches_change_no_answer(batch_size: int, pictures: list[Path]) -> None:
    model = made()
    alone = np.concatenate([model.embed([path]) for path in pictures])
    # Matrix products of another size add in another order.
    np.testing.assert_allclose(
        model.embed(pictures, batch_size=batch_size), alone, rtol=1e-4, atol=1e-5
    )


def test_pixels_are_answered_like_their_file(pictures: list[Path]) -> None:
    model = made()
    expected = model.embed(pictures)
    pixels = [read_image(path) for path in pictures]
    turned = [image[:, :, ::-1].copy()[:, :, ::-1] for image in pixels]  # as OpenCV's are turned
    opened = [Image.fromarray(image) for image in pixels]
    for images in (iter(pictures), pixels, turned, opened, np.stack([p[:40] for p in pixels])):
        found = model.embed(images)
        if not isinstance(images, np.ndarray):
            np.testing.assert_array_equal(found, expected)
        assert found.shape == expected.shape
    assert [answer.path for answer in model.predict(pixels)] == [""] * 5
    grey = pixels[0][:, :, 0]
    np.testing.assert_array_equal(model.embed([grey]), model.embed([np.dstack([grey] * 3)]))


def test_what_is_no_list_of_pictures_is_refused(pictures: list[Path]) -> None:
    model = made()
    image = read_image(pictures[0])
    for one in (image, Image.fromarray(image)):
        with pytest.raises(InputError, match=r"Give a list of images, even of one"):
            model.predict(one)
    for wrong in (image / 255, image[:0], image[:, :, :2]):
        with pytest.raises(InputError, match=r"an image is an array of (float64|uint8), shape"):
            model.predict([wrong])
    with pytest.raises(InputError, match=r"an image is a bytes; give a path"):
        model.predict([pictures[0].read_bytes()])
    names = np.array([str(path) for path in pictures])
    assert [answer.path for answer in model.predict(names)] == list(names)
    cut = io.BytesIO(pictures[0].read_bytes()[:2000])
    with pytest.raises(InputError, match="cannot be read"):
        model.predict([Image.open(cut)])


def test_a_model_tells_what_it_is(saved: Path) -> None:
    model = load(saved, device="cpu")
    assert repr(model) == "Classifier(pico, 3 classes: cat, wild, dög, owl; 32 pixels, on cpu)"
    assert model.folder == saved / "model"


def test_no_pictures_give_no_answers() -> None:
    assert made().predict([]) == []
    assert made().embed([]).shape == (0, made().backbone.dim)


@pytest.mark.parametrize("how", ["predict", "embed"])
def test_what_is_no_picture_is_named(how: str, pictures: list[Path], tmp_path: Path) -> None:
    use = made().predict if how == "predict" else made().embed
    broken, missing = tmp_path / "broken.jpg", tmp_path / "missing.jpg"
    broken.write_bytes(b"not a picture")
    for path, said in ((broken, str(broken)), (missing, f"{missing} cannot be read: No such")):
        with pytest.raises(InputError) as refused:
            use([*pictures, path])
        assert said in str(refused.value)
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_image(tmp_path)
    with pytest.raises(InputError) as refused:
        use("a.jpg")
    assert str(refused.value) == "Give a list of paths: ['a.jpg']."


@pytest.mark.parametrize("damage", ["cut", "missing", "other", "html"])
def test_damaged_weights_are_named(damage: str, saved: Path) -> None:
    path = saved / "model" / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:1000])
    elif damage == "html":
        path.write_bytes(b"<html></html>")
    elif damage == "other":
        small = Classifier(made().backbone, fresh_head(made().backbone.dim, 2), ("a", "b"))
        small.save(saved / "small", card="")
        shutil.copy(saved / "small" / "model.safetensors", path)
    text = refusal(saved)
    assert text.startswith(f"{path} is missing or damaged: ")
    assert text.endswith("Copy the whole folder again.")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "is damaged: Expecting property name"),
        ("[]", "has format None; this version of lacvit reads 1. Upgrade lacvit, or give"),
        ('{"format": 2}', "has format 2; this version of lacvit reads 1. Upgrade lacvit"),
        ('{"model_type": "vit"}', "has format None"),
        (
            '{"format": 1, "lacvit": "0"}',
            "is damaged: architecture: Field required (3 more). Copy the whole folder again.",
        ),
    ],
)
def test_another_config_is_refused(config: str, said: str, saved: Path) -> None:
    path = saved / "model" / "config.json"
    path.write_text(config)
    text = refusal(saved)
    assert text.startswith(f"{path} {said}")
    assert len(text.splitlines()) == 1
    if "is damaged" in said:
        assert text.endswith(". Copy the whole folder again.")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "vit_of_next_year"}, "cannot build vit_of_next_year: Unknown model"),
        ({"arguments": {"of_next_year": 1}}, "unexpected keyword argument 'of_next_year'. Install"),
    ],
)
def test_a_network_that_the_library_cannot_build_is_named(
    changes: dict[str, object], said: str, saved: Path
) -> None:
    path = saved / "model" / "config.json"
    config = json.loads(path.read_text())
    config["architecture"] |= changes
    path.write_text(json.dumps(config))
    assert said in refusal(saved)
    with pytest.raises(InputError, match="Install the timm that the model was made with"):
        load_backbone(f"run:{saved}")


def test_where_no_model_is_the_way_is_told(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "status.json").write_text("{}")
    assert refusal(tmp_path / "half") == (
        f"The run in {tmp_path / 'half'} has not finished: give its command again."
    )
    assert refusal(tmp_path / "nowhere").startswith(f"There is no folder {tmp_path / 'nowhere'}. G")
    for path in (tmp_path, saved / "model" / "model.safetensors"):
        assert refusal(path).startswith(f"{path} holds no model: neither config.json nor model/")


def test_a_kill_while_saving_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lacvit.model.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        made().save(tmp_path, card="")
    assert "holds no model" in refusal(tmp_path)


def test_a_model_asked_for_a_gpu_that_is_not_there_says_so(saved: Path) -> None:
    with pytest.raises(InputError, match="There is no device 'gpu' here"):
        load(saved, device="gpu")


def test_the_config_tells_how_to_build_and_feed(saved: Path) -> None:
    config = json.loads((saved / "model" / "config.json").read_text())
    assert config["format"] == 1
    assert config["class_names"] == list(NAMES)
    assert config["input_spec"]["size"] == 32
    assert config["architecture"]["source"] == "timm"
    assert len(config["origin"]["sha256"]) == 64


def test_the_temperature_travels_with_the_model(pictures: list[Path], tmp_path: Path) -> None:
    plain, warm = made(), made()
    warm.temperature = 2.5
    warm.save(tmp_path / "model", card="# A card\n")
    loaded = load(tmp_path, device="cpu")
    assert loaded.temperature == 2.5
    features = plain.embed(pictures)
    logits = plain.logits(features)
    np.testing.assert_allclose(loaded.probabilities(features), softmax(logits / 2.5, 1), rtol=1e-5)
    for one, other in zip(plain.predict(pictures), loaded.predict(pictures), strict=True):
        assert [name for name, _ in one.top] == [name for name, _ in other.top]
        assert other.probability < one.probability


def test_a_model_of_before_has_a_temperature_of_1(saved: Path, pictures: list[Path]) -> None:
    path = saved / "model" / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("temperature") == 1.0
    path.write_text(json.dumps(config))
    assert load(saved, device="cpu").temperature == 1.0
    assert load(saved, device="cpu").predict(pictures) == made().predict(pictures)


def test_the_card_says_what_it_scored_and_under_which_terms() -> None:
    settings = make_settings(
        recipe={"method": "lacvit", "backbone.spec": "pico", "data.path": "/home/me/photos"}
    )
    score = {"accuracy": 0.875, "interval": [0.529, 0.978], "images": 8}
    metrics = {"test": score | {"ece": 0.0312, "temperature": 1.8}}
    card = model_card(settings, NAMES, metrics, None)
    assert card.startswith("# lacvit on photos\n")
    assert "/home/me" not in card
    assert "Accuracy@1 on 8 test images: 87.5 %\n(95 % interval 52.9 to 97.8" in card
    assert "probabilities are off by 3.1 points there on average" in card
    assert "divided by 1.80, the temperature" in card
    assert "Classes: cat, wild, dög, owl." in card
    assert "Tiny ImageNet" in card
    assert "non-commercial" in card
    assert "the method `lacvit`, seed 0.\n" in card
    both = make_settings(recipe={"method": "lacvit", "head.fit_on": "all"})
    card = model_card(both, NAMES, metrics, None)
    assert "seed 0, its head fitted on validation images too.\n" in card


def test_the_weights_load_without_lacvit(tmp_path: Path) -> None:
    """As docs/method.md says."""
    import timm  # after lacvit, which mends torchvision's import beside a CPU build of torch

    name = "vit_tiny_patch16_224"
    place = tmp_path / "timm"
    timm.models.save_for_hf(timm.create_model(name, img_size=32, depth=1), place)
    backbone = load_backbone(f"timm:{place}")
    Classifier(backbone, fresh_head(backbone.dim, 3), NAMES).save(tmp_path / "model", card="")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    below = {
        prefix: {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        for prefix in ("backbone.", "head.")
    }
    encoder = timm.create_model(name, img_size=32, depth=1, num_classes=0).eval()
    encoder.load_state_dict(below["backbone."])
    head = torch.nn.Linear(encoder.num_features, len(NAMES))
    head.load_state_dict(below["head."])
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), backbone.eval()(images))


def test_a_model_of_another_format_is_no_backbone_either(saved: Path) -> None:
    file = saved / "model" / "config.json"
    config = json.loads(file.read_text())
    assert load_backbone(f"run:{saved}").dim == made().backbone.dim
    file.write_text(json.dumps(config | {"format": 99}))
    with pytest.raises(InputError, match=r"has format 99; .* Upgrade lacvit"):
        load_backbone(f"run:{saved}")
