import threading

import numpy as np
import pytest
import torch
from image_files import noise, smooth, write_classes

from lacvit.data.augmentation import Augmentation, ViewKeys
from lacvit.data.batches import (
    DecodedImages,
    ViewPlan,
    epoch_order,
    evaluation_batches,
    hold,
    view_batches,
)
from lacvit.data.decoding import UnreadableImageError
from lacvit.data.readers import read_data
from lacvit.data.records import ImageRecords, records_from_arrays
from lacvit.data.views import evaluation_view, make_view
from lacvit.input_spec import InputSpec

SPEC = InputSpec(size=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
STRONG = Augmentation(
    crop_scale=(0.3, 1.0), brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1,
    jitter_probability=0.8, grey_probability=0.2,
)  # fmt: skip


def equal_sized(count: int = 11) -> ImageRecords:
    return records_from_arrays([noise(i) for i in range(count)], np.arange(count) % 3, "abc")


def unequal(count: int = 11) -> ImageRecords:
    images = [smooth(i, 20 + i, 30 - i) for i in range(count)]
    return records_from_arrays(images, np.arange(count) % 3, "abc")


def test_one_size_is_held_as_a_stack():
    images = hold(equal_sized())
    assert images.kept.shape == (11, 8, 8, 3)
    assert images.all_kept
    found = images.get(np.array([3, 0]))
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.numpy(), np.stack([noise(3), noise(0)]))


def test_unequal_sizes_are_held_as_a_list():
    records = unequal()
    images = hold(records, workers=2)
    assert isinstance(images.kept, list)
    assert images.all_kept
    for position, image in zip([3, 0], images.get(np.array([3, 0])), strict=True):
        np.testing.assert_array_equal(image, records.read(position))


def test_one_image_of_another_size_makes_a_list():
    arrays = [noise(i) for i in range(300)] + [noise(0, 9, 8)]
    images = hold(records_from_arrays(arrays, np.arange(301) % 2, "ab"))
    assert isinstance(images.kept, list)
    for position in (0, 299, 300):
        np.testing.assert_array_equal(images.get(np.array([position]))[0], arrays[position])


@pytest.mark.parametrize("make", [equal_sized, unequal])
@pytest.mark.parametrize("memory", [0, 1000, 10**9])
@pytest.mark.parametrize("workers", [1, 3])
def test_what_does_not_fit_is_decoded_again(make, memory, workers):
    records = make()
    images = hold(records, memory_bytes=memory, workers=workers)
    kept = images.kept if isinstance(images.kept, list) else list(images.kept.numpy())
    assert sum(image.nbytes for image in kept) <= memory
    assert len(images) == 11
    for position, image in enumerate(images.get(np.arange(11))):
        np.testing.assert_array_equal(np.asarray(image), records.read(position))


def test_images_that_are_decoded_again_pass_a_few_at_a_time(monkeypatch):
    """A batch of photographs as a whole would take gigabytes; its views are the same."""
    records = records_from_arrays([smooth(i, 40 + i, 50) for i in range(40)], [0, 1] * 20, "ab")
    asked = []
    real = DecodedImages.get

    def counted(images, indices, pool=None):
        asked.append(len(indices))
        return real(images, indices, pool)

    plan = ViewPlan(SPEC, STRONG, batch_size=40)
    made = {}
    for name, memory in (("kept", 10**9), ("again", 0)):
        images = hold(records, memory_bytes=memory)
        monkeypatch.setattr(DecodedImages, "get", counted)
        made[name] = (
            next(view_batches(images, records.labels, plan, 3)).views_BVCHW,
            next(evaluation_batches(images, SPEC, batch_size=40)),
        )
        monkeypatch.setattr(DecodedImages, "get", real)
    assert asked == [40, 40, 16, 16, 8, 16, 16, 8]
    for kept, again in zip(made["kept"], made["again"], strict=True):
        torch.testing.assert_close(again, kept, rtol=0, atol=1e-6)


def test_what_is_not_kept_is_not_decoded(monkeypatch):
    records, read = equal_sized(40), []
    real = ImageRecords.read
    monkeypatch.setattr(ImageRecords, "read", lambda r, i: read.append(i) or real(r, i))
    hold(records, memory_bytes=0)
    assert not read
    hold(records, memory_bytes=3 * 8 * 8 * 2)  # two images
    assert len(read) <= 16


def test_an_unreadable_image_is_named(tmp_path):
    write_classes(tmp_path, {"a": 2, "b": 1})
    (tmp_path / "a" / "1.png").write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=r"a/1\.png cannot be read: the file is empty"):
        hold(read_data(tmp_path)["all"])


def test_no_images():
    images = hold(equal_sized().select([]))
    assert len(images) == 0
    assert list(view_batches(images, images.records.labels, ViewPlan(SPEC, STRONG), 0)) == []
    assert list(evaluation_batches(images, SPEC, batch_size=4)) == []


@pytest.mark.parametrize("make", [equal_sized, unequal])
@pytest.mark.parametrize("batch_size", [1, 4, 11, 50])
@pytest.mark.parametrize("views", [1, 2, 3])
def test_an_epoch_is_every_image_once_in_its_order(make, batch_size, views):
    records = make()
    plan = ViewPlan(SPEC, STRONG, views=views, batch_size=batch_size, seed=5)
    batches = list(view_batches(hold(records), records.labels, plan, epoch=2))
    sizes = [len(batch.labels_B) for batch in batches]
    assert sum(sizes) == 11
    assert set(sizes[:-1]) <= {batch_size}
    indices = torch.cat([batch.indices_B for batch in batches]).numpy()
    np.testing.assert_array_equal(indices, epoch_order(11, seed=5, epoch=2))
    for batch, size in zip(batches, sizes, strict=True):
        assert batch.views_BVCHW.shape == (size, views, 3, 16, 16)
        assert batch.views_BVCHW.is_contiguous()
        np.testing.assert_array_equal(batch.labels_B, records.labels[batch.indices_B.numpy()])


def test_views_are_those_of_make_view():
    records = equal_sized()
    plan = ViewPlan(SPEC, STRONG, batch_size=4, seed=5)
    images = hold(records)
    for batch in view_batches(images, records.labels, plan, epoch=3):
        indices = batch.indices_B.numpy()
        for view in range(2):
            keys = ViewKeys(seed=5, epoch=3, view=view)
            expected = make_view(images.get(indices), indices, SPEC, STRONG, keys)
            torch.testing.assert_close(batch.views_BVCHW[:, view], expected, rtol=0, atol=0)


@pytest.mark.parametrize("make", [equal_sized, unequal])
@pytest.mark.parametrize(
    ("other", "held"),
    [({"workers": 4}, {}), ({"batch_size": 3}, {}), ({"workers": 3}, {"memory_bytes": 2_000})],
)
def test_nothing_but_the_keys_changes_a_view(make, other, held):
    records = make()
    options = {"batch_size": 5, "seed": 1}
    found = []
    for extra, memory in (({}, {}), (other, held)):
        plan = ViewPlan(SPEC, STRONG, **options | extra)
        views = torch.empty(11, 2, 3, 16, 16)
        for batch in view_batches(hold(records, **memory), records.labels, plan, epoch=0):
            views[batch.indices_B] = batch.views_BVCHW
        found.append(views)
    # A set that no longer fits is cropped in 8 bits: one level and a bit, over a std of 0.25,
    # and a colour factor of at most 1.4 on each of four changes.
    eight_bits = make is equal_sized and held
    tolerance = 1.2 / 255 / 0.25 * 1.4**4 if eight_bits else 1e-5
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=tolerance)


def test_epochs_differ():
    records = equal_sized()
    plan = ViewPlan(SPEC, STRONG, batch_size=11)
    (first,), (second,) = (
        list(view_batches(hold(records), records.labels, plan, epoch)) for epoch in (0, 1)
    )
    assert not torch.equal(first.indices_B, second.indices_B)


@pytest.mark.parametrize("make", [equal_sized, unequal])
@pytest.mark.parametrize("memory", [0, 10**9])
@pytest.mark.parametrize("workers", [1, 2])
def test_evaluation_batches_come_in_order(make, memory, workers):
    records = make()
    images = hold(records, memory_bytes=memory, workers=workers)
    batches = list(evaluation_batches(images, SPEC, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    expected = torch.cat([evaluation_view([records.read(i)], SPEC) for i in range(11)])
    torch.testing.assert_close(torch.cat(batches), expected, rtol=0, atol=0)


def test_an_error_while_decoding_ahead_is_raised(tmp_path):
    write_classes(tmp_path, {"a": 6, "b": 6})
    records = read_data(tmp_path)["all"]
    images = hold(records, memory_bytes=0, workers=2)
    (tmp_path / "b" / "3.png").unlink()
    plan = ViewPlan(SPEC, STRONG, batch_size=2, workers=2)
    with pytest.raises(UnreadableImageError, match=r"b/3\.png cannot be read: the file is gone"):
        list(view_batches(images, records.labels, plan, 0))


def test_threads_end_with_an_abandoned_epoch():
    records = unequal()
    before = threading.active_count()
    images = hold(records, memory_bytes=0)
    batches = view_batches(images, records.labels, ViewPlan(SPEC, STRONG, 2, 2, workers=3), 0)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("make", [equal_sized, unequal])
def test_an_accelerator_gives_the_same_views(make):
    records = make()
    images = hold(records)
    batches = {}
    for device in ("cpu", "cuda"):
        plan = ViewPlan(SPEC, STRONG, batch_size=11, device=device)
        (batches[device],) = view_batches(images, records.labels, plan, 0)
        assert batches[device].views_BVCHW.device.type == device
        assert batches[device].labels_B.device.type == device
    found = batches["cuda"].views_BVCHW.cpu()
    torch.testing.assert_close(found, batches["cpu"].views_BVCHW, rtol=0, atol=1e-3)
