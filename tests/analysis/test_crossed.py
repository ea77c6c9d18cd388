"""Image and latents crossed, from made-up rows of models whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lantern_probe.analysis import crossed, swap_controls
from lantern_probe.errors import LanternError

Answer = Callable[[str, str], str]


def rows(answer: Answer, n: int = 12, *, known: bool = True) -> list[dict[str, Any]]:
    """An exchange of n pairs: `answer(image, latents)`, with the image's colour as its name."""
    found = []
    for pair in range(n):
        clean, twin = f"red{pair}", f"blue{pair}"
        for key, image, other in ((f"{pair}", clean, twin), (f"{pair}~", twin, clean)):
            for condition, latents in (("own", image), ("self-swap", image), ("twin", other)):
                said = answer(image, latents)
                donor = f"{pair}~" if key == f"{pair}" else f"{pair}"
                swapped = condition == "twin"
                found.append(
                    {
                        "status": "ok",
                        "sample": key,
                        "cluster": f"{pair}",
                        "emitted": True,
                        "condition": condition,
                        "gold": image if known else clean,
                        "answer": said,
                        "correct": said == image,
                        "logprobs": {c: 0.0 if c == said else -5.0 for c in (clean, twin)},
                        **({"donor": donor} if swapped else {}),
                        **({"donor_answer": other if known else None} if swapped else {}),
                    }
                )
    return found


def shares(answer: Answer, **more: Any) -> list[float]:
    return [cell.estimate for cell in crossed.summarize(rows(answer, **more), model="m").cells]


def test_a_model_that_answers_from_latents_follows_them_across_images() -> None:
    found = crossed.summarize(rows(lambda image, latents: latents), model="m")
    assert [cell.estimate for cell in found.cells] == [1, 0, 1, 0]
    assert found.n == 24 and found.left_out == 0
    assert [c.difference.estimate for c in found.contrasts] == [1, 1, 0, 0]
    assert found.contrasts[0].test is not None
    assert found.contrasts[0].test.p == pytest.approx(2 / 2**12)  # twelve pairs, not 24 samples
    assert found.contrasts[0].holm_p == pytest.approx(4 * 2 / 2**12)


def test_a_model_that_answers_from_the_image_does_not() -> None:
    assert shares(lambda image, latents: image) == [1, 1, 0, 0]


def test_latents_that_are_read_only_where_the_image_is_silent_show_in_one_cell() -> None:
    """The third cell is what neither single contrast with a clean image can see."""

    def read(image: str, latents: str) -> str:
        return latents if image.startswith("blue") else image

    found = crossed.summarize(rows(read, known=False), model="m")
    assert [cell.estimate for cell in found.cells] == [1, 1, 1, 0]
    assert found.n == 12  # a corrupted image has no right answer: one direction only


def test_a_pair_that_lacks_a_cell_is_counted_as_left_out() -> None:
    some = [
        r
        for r in rows(lambda image, latents: image)
        if (r["sample"], r["condition"]) != ("3~", "twin")
    ]
    found = crossed.summarize(some, model="m")
    assert (found.n, found.left_out) == (22, 2)
    with pytest.raises(LanternError, match="no rows of 'twin'"):
        crossed.summarize([r for r in some if r["condition"] == "own"], model="m")


def test_shifts_that_cancel_are_seen_by_their_absolute_size() -> None:
    """Half of the margins go up by 4, half down: signed 0, absolute 4, and nothing for the sham."""
    some = rows(lambda image, latents: image)
    for row in some:
        if row["condition"] == "twin":
            sign = 1 if int(row["cluster"]) % 2 else -1
            row["logprobs"] = {
                c: v + 4 * sign * (c == row["gold"]) for c, v in row["logprobs"].items()
            }
    found = {(s.condition, s.direction): s for s in swap_controls.summarize(some, model="m")}
    assert set(found) == {(c, d) for c in ("twin", "self-swap") for d in ("direct", "reverse")}
    for direction in ("direct", "reverse"):
        twin, sham = found["twin", direction], found["self-swap", direction]
        assert twin.n == 12
        assert twin.signed.estimate == 0 and twin.absolute.estimate == 4
        assert twin.signed_test is not None and twin.signed_test.p == 1
        assert twin.beyond_sham is not None and twin.beyond_sham.estimate == 4
        assert twin.absolute_holm_p == pytest.approx(2 * 2 / 2**12)
        assert sham.absolute.estimate == 0 and sham.signed_test is sham.beyond_sham is None


def test_the_margin_is_over_the_best_other_candidate() -> None:
    row = {"logprobs": {"a": -1.0, "b": -1.5, "c": -9.0}}
    assert swap_controls.gold_margin(row, "a") == 0.5
    assert swap_controls.gold_margin(row, "c") == -8.0
    assert swap_controls.gold_margin(row, "d") is None
    assert swap_controls.gold_margin({"logprobs": None}, "a") is None


def test_a_corrupted_image_has_no_reverse_direction() -> None:
    some = rows(lambda image, latents: latents, known=False)
    assert {s.direction for s in swap_controls.summarize(some, model="m")} == {"direct"}


def test_sets_of_slots_are_no_members_of_the_family() -> None:
    some = rows(lambda image, latents: latents)
    sets = [{**r, "condition": "twin:slots=3"} for r in some if r["condition"] == "twin"]
    found = swap_controls.summarize([*some, *sets], model="m")
    assert found == swap_controls.summarize(some, model="m")
