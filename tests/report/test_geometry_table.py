"""The table of geometry on a comparison's page: means over runs, and a verdict of the means."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from lacvit.report.geometry_table import read_geometry
from lacvit.run_folder import write_json


def write_geometry(run: Path, **cosines: float) -> None:
    """A run whose encoders have these mean cosines, and the verdict of that run alone."""
    (run / "evaluation" / "features").mkdir(parents=True)
    measures = {
        name: {"geometry": {"mean_cosine": value, "iso_score": 0.2, "cka_error": 0.1},
               "quality": {"knn_1": 0.5}}
        for name, value in cosines.items()
    }  # fmt: skip
    fields = {"embeddings": measures, "verdict": ["Of this run alone."]}
    write_json(run / "evaluation" / "geometry.json", fields)
    rows_nd = np.zeros((3, 16), dtype=np.float32)
    save_file({"untouched": rows_nd}, run / "evaluation" / "features" / "test.safetensors")


def cell(**runs: int) -> dict:
    methods = [
        {
            "method": name,
            "runs": [{"folder": f"{name}-s{seed}", "seed": seed} for seed in range(count)],
        }
        for name, count in runs.items()
    ]
    return {"methods": methods, "classes": 4, "seeds": list(range(min(runs.values())))}


def test_the_verdict_is_of_the_means_that_the_table_shows(tmp_path: Path) -> None:
    write_geometry(tmp_path / "lacvit-s0", untouched=0.5, contrastive=0.4)
    write_geometry(tmp_path / "lacvit-s1", untouched=0.5, contrastive=0.8)
    table = read_geometry(tmp_path, cell(lacvit=2))
    assert table is not None
    assert table.columns == ("untouched", "lacvit")
    values = {title: values for _, title, values in table.rows}
    np.testing.assert_allclose(values["Mean cosine"], (0.5, 0.6))
    assert "cka_error" not in values
    ((method, words),) = table.verdicts
    assert method == "lacvit"
    assert words[0].startswith("By the cone the embedding is less isotropic after contrastive tr")
    assert "was 0.50 and is 0.60" in words[0]
    assert "all 16 directions" in words[1]


def test_a_seed_that_not_all_methods_have_has_no_say(tmp_path: Path) -> None:
    write_geometry(tmp_path / "lacvit-s0", untouched=0.5, contrastive=0.4)
    write_geometry(tmp_path / "lacvit-s1", untouched=0.5, contrastive=0.8)
    write_geometry(tmp_path / "joint-s0", untouched=0.5, joint=0.3)
    table = read_geometry(tmp_path, cell(lacvit=2, joint=1))
    assert table is not None
    values = {title: values for _, title, values in table.rows}
    np.testing.assert_allclose(values["Mean cosine"], (0.5, 0.4, 0.3))


def test_of_two_stages_the_last_is_the_methods_encoder(tmp_path: Path) -> None:
    write_geometry(tmp_path / "both-s0", untouched=0.5, contrastive=0.9, cross_entropy=0.3)
    table = read_geometry(tmp_path, cell(both=1))
    assert table is not None
    assert {title: values for _, title, values in table.rows}["Mean cosine"] == (0.5, 0.3)


def test_methods_with_one_encoder_share_a_sentence(tmp_path: Path) -> None:
    for method in ("ce", "refit"):
        write_geometry(tmp_path / f"{method}-s0", untouched=0.5, cross_entropy=0.3)
    write_geometry(tmp_path / "lacvit-s0", untouched=0.5, contrastive=0.4)
    table = read_geometry(tmp_path, cell(ce=1, lacvit=1, refit=1))
    assert table is not None
    assert [methods for methods, _ in table.verdicts] == ["ce and refit", "lacvit"]
    assert table.columns == ("untouched", "ce", "lacvit", "refit")


def test_without_geometry_there_is_no_table(tmp_path: Path) -> None:
    assert read_geometry(tmp_path, cell(lacvit=1)) is None
