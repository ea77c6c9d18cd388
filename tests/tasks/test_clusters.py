"""Clusters of layouts that are known: pairs of MMVP and cycles of HR-Bench."""

from __future__ import annotations

from typing import Any

from lantern_probe.tasks.clusters import joined
from lantern_probe.tasks.generic import read_data


def row(index: int, image: str, **more: Any) -> dict[str, Any]:
    return {"index": index, "image": image, "question": "q", "A": "x", "B": "y", **more}


def test_equal_keys_join_across_lists() -> None:
    assert joined([["a", "b", "c", "d"], ["x", "c", "y", "x"]]) == [0, 1, 1, 0]
    assert joined([[]]) == []


def test_cycles_of_one_question_are_one_cluster(tmp_path: Any) -> None:
    rows = [
        row(0, "a.png", cycle_category="1"),
        row(1, "copy.png", cycle_category="2", A="y", B="x"),
        row(2, "b.png", cycle_category="1", question="r"),
        row(3, "b.png", cycle_category="2", question="s"),
    ]
    reading = read_data(rows, image_root=tmp_path)
    assert [sample.cluster for sample in reading.samples] == ["0", "0", "2", "2"]
    assert reading.clusters == "image and cycle (cycle_category)"
    first = read_data(rows, image_root=tmp_path, limit=1)
    assert len(first.samples) == 1 and first.settings() == reading.settings()


def test_indices_of_mmvp_are_pairs(tmp_path: Any) -> None:
    path = tmp_path / "MMVP.tsv"
    lines = ["index\timage\tquestion\tA\tB"]
    lines += [f"{n}\t{n}.png\tq\tx\ty" for n in (2, 1, 4, 5)]
    path.write_text("\n".join(lines))
    assert [s.cluster for s in read_data(path).samples] == ["pair-0", "pair-0", "pair-1", "pair-2"]
    path.rename(tmp_path / "other.tsv")
    assert len({s.cluster for s in read_data(tmp_path / "other.tsv").samples}) == 4
