"""What `--backbone auto` comes to, by images, machine, cache and network."""

import pytest

from lacvit.backbones import auto, hub

TINY, SMALL, BASE, LARGE = (row.spec for row in reversed(auto.ROWS))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Set which rows are cached, and whether there is a network."""

    def arrange(cached: tuple[str, ...], network: bool) -> None:
        monkeypatch.setattr(auto, "is_cached", lambda row: row.spec in cached)
        monkeypatch.setattr(hub, "reachable", lambda: network)

    return arrange


@pytest.mark.parametrize(
    ("side", "gigabytes", "cached", "network", "spec", "said"),
    [
        (32, 80, (BASE,), True, "pico", "the images have 32 pixels a side, and pico sees 32"),
        (64, 0, (), True, "pico", "the images have 64 pixels"),
        (65, 0, (), True, TINY, "even on a processor; 39 MB are downloaded"),
        (224, 0, (BASE, SMALL), True, TINY, "39 MB are downloaded if need be, licence apache-2.0"),
        (224, 16, (), True, SMALL, "120 MB"),
        (224, 16, (TINY,), True, TINY, "it is on this machine already"),
        (224, 48, (), True, BASE, "346 MB"),
        (224, 141, (), True, BASE, "346 MB"),
        (600, 141, (), True, LARGE, "347 MB"),
        (600, 141, (SMALL,), False, SMALL, "it is on this machine already"),
        (224, 16, (BASE,), False, "pico", f"no network to fetch {SMALL} (120 MB, apache-2.0)"),
        (224, 16, (), False, "pico", "nothing better is on this machine, and there is no network"),
        (224, 0, (BASE, SMALL), False, "pico",
         f"{BASE} is on this machine, but trains on an accelerator of 32 GB, and here is none; "
         f"{SMALL} is on this machine, but trains on an accelerator of 12 GB, and here is none, "
         f"and there is no network to fetch {TINY} (39 MB, apache-2.0)"),
        (224, 31.7, (BASE,), False, "pico", "accelerator of 32 GB, and here is one of 31.7, and"),
        (224, 141, (LARGE,), False, "pico",
         f"{LARGE} is on this machine, but is for images of 512 pixels and more, and there is"),
    ],
)  # fmt: skip
def test_the_choice(
    side: int, gigabytes: float, cached: tuple[str, ...], network: bool, spec: str, said: str,
    machine,
) -> None:  # fmt: skip
    machine(cached, network)
    choice = auto.choose(side, gigabytes)
    assert choice.spec == spec
    assert said in choice.reason


def test_every_row_can_be_named_and_says_its_terms() -> None:
    from lacvit.backbones.timm_sources import timm

    released = timm.list_models(pretrained=True)
    for row in auto.ROWS:
        assert row.name in released
        described = timm.get_pretrained_cfg(row.name)
        assert described.license == row.licence
        assert described.hf_hub_id == f"timm/{row.name}"


@pytest.mark.parametrize("name", hub.TIMM_FILES)
def test_a_cached_row_is_seen(name: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert not auto.is_cached(auto.ROWS[-1])
    folder = tmp_path / f"models--timm--{auto.ROWS[-1].name}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / name).write_text("")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    assert auto.is_cached(auto.ROWS[-1])
