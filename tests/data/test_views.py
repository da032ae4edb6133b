import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from image_files import noise, smooth
from PIL import Image

from lacvit.backbones.torchvision_shim import ensure_torchvision
from lacvit.data.augmentation import Augmentation, ViewKeys, choose
from lacvit.data.views import evaluation_view, make_view
from lacvit.input_spec import InputSpec

ensure_torchvision()
from timm.data import create_transform  # noqa: E402
from torchvision.transforms import v2 as torchvision  # noqa: E402
from torchvision.transforms.v2 import functional  # noqa: E402
from torchvision.transforms.v2.functional import InterpolationMode  # noqa: E402

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
KEYS = ViewKeys(seed=1, epoch=2, view=0)
STRONG = Augmentation(
    crop_scale=(0.2, 1.0),
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    jitter_probability=0.8,
    grey_probability=0.2,
)
# Pixels in [0, 1] are divided by a std of at least 0.2. The resampling's error (test_resampling)
# passes through four colour changes, each of which may enlarge it 1.4 times.
TOLERANCE = (1e-5 * 1.4**4 + 8e-6) / 0.2
OPERATIONS = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


def spec(size: int = 32, **options: object) -> InputSpec:
    return InputSpec(size=size, mean=MEAN, std=STD, **options)


def torchvision_view(image: np.ndarray, choices, row: int, of: InputSpec, *, eight_bits: bool):
    """The view that torchvision makes of these choices, step by step."""
    planes = torch.from_numpy(image).permute(2, 0, 1)
    box = [int(side) for side in choices.boxes[row]]
    resized = {"interpolation": InterpolationMode(of.interpolation), "antialias": True}
    if eight_bits:
        planes = functional.resized_crop(planes, *box, [of.size] * 2, **resized).float() / 255
    else:  # cut off after each axis, as on 8 bits
        planes = functional.crop(planes, *box).float() / 255
        for sides in ([box[2], of.size], [of.size] * 2):
            planes = functional.resize(planes, sides, **resized).clamp(0, 1)
    if choices.flipped[row]:
        planes = functional.horizontal_flip(planes)
    if (choices.factors[row] != [1, 1, 1, 0]).any():
        for operation in choices.order[row]:
            planes = OPERATIONS[operation](planes, float(choices.factors[row, operation]))
    if choices.grey[row]:
        planes = functional.rgb_to_grayscale(planes, num_output_channels=3)
    return functional.normalize(planes, list(MEAN), list(STD))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 32), (40, 36, 24), (8, 8, 32)])
def test_views_of_a_stack_are_torchvisions(interpolation, height, width, size):
    images = np.stack([noise(seed, height, width) for seed in range(40)])
    indices = np.arange(40) * 7
    sides = np.full(40, height), np.full(40, width)
    choices = choose(STRONG, KEYS, indices, *sides)
    of = spec(size, interpolation=interpolation)
    views = make_view(torch.from_numpy(images), indices, of, STRONG, KEYS)
    expected = [
        torchvision_view(image, choices, row, of, eight_bits=False)
        for row, image in enumerate(images)
    ]
    torch.testing.assert_close(views, torch.stack(expected), rtol=0, atol=TOLERANCE)
    assert views.dtype == torch.float32
    assert views.is_contiguous()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_views_of_unequal_images_are_torchvisions(interpolation):
    images = [smooth(seed, 40 + 7 * (seed % 5), 90 - 5 * (seed % 7)) for seed in range(30)]
    indices = np.arange(30) + 100
    heights, widths = np.array([image.shape[:2] for image in images]).T
    choices = choose(STRONG, KEYS, indices, heights, widths)
    of = spec(32, interpolation=interpolation)
    views = make_view(images, indices, of, STRONG, KEYS)
    assert views.is_contiguous()
    expected = [
        torchvision_view(image, choices, row, of, eight_bits=True)
        for row, image in enumerate(images)
    ]
    torch.testing.assert_close(views, torch.stack(expected), rtol=0, atol=TOLERANCE)


def test_a_large_stack_is_the_list_of_its_images():
    images = np.stack([smooth(seed, 80, 100) for seed in range(6)])
    arguments = np.arange(6), spec(), STRONG, KEYS
    stacked = make_view(torch.from_numpy(images), *arguments)
    torch.testing.assert_close(stacked, make_view(list(images), *arguments), rtol=0, atol=0)


def test_threads_change_no_pixel():
    images = [smooth(seed, 70, 90 + seed) for seed in range(8)]
    arguments = images, np.arange(8), spec(), STRONG, KEYS
    with ThreadPoolExecutor(3) as pool:
        torch.testing.assert_close(make_view(*arguments, pool=pool), make_view(*arguments))
        torch.testing.assert_close(
            evaluation_view(images, spec(), pool=pool), evaluation_view(images, spec())
        )


@pytest.mark.parametrize("stacked", [True, False])
def test_a_view_is_the_same_in_any_batch(stacked):
    images = np.stack([smooth(seed, 32, 32) for seed in range(20)])
    give = torch.from_numpy if stacked else list
    whole = make_view(give(images), np.arange(20), spec(), STRONG, KEYS)
    some = np.array([13, 2, 7])
    part = make_view(give(images[some]), some, spec(), STRONG, KEYS)
    torch.testing.assert_close(part, whole[some], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("change", ["seed", "epoch", "view", "index"])
def test_another_key_gives_another_view(change):
    images = torch.from_numpy(np.stack([smooth(0, 32, 32)] * 4))
    keys = {"seed": 0, "epoch": 0, "view": 0}
    first = make_view(images, np.arange(4), spec(), STRONG, ViewKeys(**keys))
    indices = np.arange(4) + (100 if change == "index" else 0)
    keys |= {} if change == "index" else {change: 1}
    second = make_view(images, indices, spec(), STRONG, ViewKeys(**keys))
    for before, after in zip(first, second, strict=True):
        assert not torch.equal(before, after)


def test_the_input_is_left_alone():
    images = torch.from_numpy(np.stack([smooth(seed, 32, 32) for seed in range(3)]))
    before = images.clone()
    make_view(images, np.arange(3), spec(), STRONG, KEYS)
    evaluation_view(images, spec())
    assert torch.equal(images, before)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fraction", [1.0, 0.9, 0.875])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 60), (64, 33), (7, 9)])
def test_evaluation_is_torchvisions(interpolation, fraction, height, width):
    image = smooth(3, height, width)
    of = spec(24, interpolation=interpolation, crop_fraction=fraction)
    mode = InterpolationMode(interpolation)
    prepare = [
        torchvision.Resize(int(24 / fraction), mode, antialias=True),
        torchvision.CenterCrop(24),
    ]
    planes = torch.from_numpy(image).permute(2, 0, 1)
    expected = torchvision.Normalize(MEAN, STD)(torchvision.Compose(prepare)(planes) / 255)
    for images in ([image], torch.from_numpy(image)[None]):
        found = evaluation_view(images, of)[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_evaluation_of_images_at_the_models_size_changes_no_pixel():
    image = noise(0, 32, 32)
    expected = torch.from_numpy(image).permute(2, 0, 1) / 255 - torch.tensor(MEAN)[:, None, None]
    expected = expected / torch.tensor(STD)[:, None, None]
    for images in ([image], torch.from_numpy(image)[None]):
        torch.testing.assert_close(evaluation_view(images, spec())[0], expected)


@pytest.mark.parametrize(("height", "width"), [(1, 3000), (3000, 2), (1, 1)])
def test_extreme_shapes(height, width):
    image = noise(0, height, width)
    for view in (
        evaluation_view([image], spec(48)),
        make_view([image], np.array([0]), spec(48), STRONG, KEYS),
    ):
        assert view.shape == (1, 3, 48, 48)
        assert torch.isfinite(view).all()


def test_a_long_image_is_cut_as_others_are():
    image = smooth(0, 20, 20 * 15)
    longer = np.concatenate([image[:, :30], image, image[:, -30:]], axis=1)
    assert longer.shape[1] > 16 * 20
    found = evaluation_view([longer], spec(20))
    expected = evaluation_view([image], spec(20))
    torch.testing.assert_close(found, expected, rtol=0, atol=1.01 / 255 / 0.2)


def test_a_grey_view_has_no_colour():
    augmentation = Augmentation(grey_probability=1.0)
    flat = InputSpec(size=32, mean=(0, 0, 0), std=(1, 1, 1))
    images = torch.from_numpy(np.stack([smooth(seed, 32, 32) for seed in range(3)]))
    views = make_view(images, np.arange(3), flat, augmentation, KEYS)
    assert torch.equal(views[:, 0], views[:, 1])
    assert torch.equal(views[:, 0], views[:, 2])


def test_views_have_the_pipelines_distribution():
    """Mean and spread of the pixels over many views of one image: torchvision's, on 8 bits."""
    image = smooth(5, 32, 32)
    count = 600
    flat = InputSpec(size=32, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bilinear")
    stack = torch.from_numpy(np.broadcast_to(image, (count, 32, 32, 3)).copy())
    ours = make_view(stack, np.arange(count), flat, STRONG, KEYS)
    torch.manual_seed(0)
    pipeline = torchvision.Compose(
        [
            torchvision.RandomResizedCrop(32, scale=(0.2, 1.0), antialias=True),
            torchvision.RandomHorizontalFlip(),
            torchvision.RandomApply([torchvision.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            torchvision.RandomGrayscale(p=0.2),
        ]
    )
    planes = torch.from_numpy(image).permute(2, 0, 1)
    theirs = torch.stack([pipeline(planes) for _ in range(count)]) / 255
    for part in (slice(0, 3), slice(0, 1), slice(2, 3)):
        for measure in (torch.mean, torch.std):
            a = torch.stack([measure(view[part]) for view in ours]).double()
            b = torch.stack([measure(view[part]) for view in theirs]).double()
            error = math.sqrt(float(a.var() + b.var()) / count)
            assert abs(float(a.mean() - b.mean())) < 4 * error
            assert abs(float(a.std() / b.std()) - 1) < 0.15


@pytest.mark.parametrize(("height", "width"), [(40, 60), (7, 300), (32, 32)])
@pytest.mark.parametrize("fraction", [1.0, 0.875])
def test_squashed_images_lose_their_shape(height: int, width: int, fraction: float) -> None:
    of = spec(28, crop_fraction=fraction, interpolation="bilinear", fit="squash")
    image = smooth(3, height, width)
    side = int(28 / fraction)
    planes = functional.resize(
        torch.from_numpy(image).permute(2, 0, 1), [side, side], antialias=True
    )
    pixels = functional.center_crop(planes, [28, 28]).float() / 255
    wanted = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    # An image 16 times as long as wide is resampled by matrices, to the nearest of 256 levels.
    torch.testing.assert_close(
        evaluation_view([image], of)[0], wanted, atol=1.01 / 255 / 0.2, rtol=0
    )


@pytest.mark.parametrize(
    ("size", "crop"), [(224, 0.9), (224, 224 / 256), (224, 0.95), (32, 0.875), (384, 1.0)]
)
def test_an_evaluation_view_is_timms_own(size: int, crop: float) -> None:
    """224 / 0.9 is 248 pixels there, not 249: the sides are rounded down."""
    picture = noise(3, 300, 420)
    theirs = create_transform(
        size, interpolation="bicubic", mean=MEAN, std=STD, crop_pct=crop, is_training=False
    )
    spec = InputSpec(size=size, mean=MEAN, std=STD, crop_fraction=crop, interpolation="bicubic")
    ours = evaluation_view([picture], spec)[0]
    wanted = theirs(Image.fromarray(picture))
    levels = (ours - wanted).abs() * torch.tensor(STD)[:, None, None] * 255
    assert levels.max() < 2.01  # of 255: both resample in integers, along one axis at a time
