"""Placement over devices: rows are the same, and nothing mixes tensors of two devices.

There are no two GPUs here. `PretendedDevices` lets tensors on the CPU say that they are on one: it
sees every call of torch's Python functions. A tensor is on the device that it was created on or
moved to, results are where their inputs are, and two devices in one call are an error, as on GPUs,
but for what torch allows there: numbers and indices on the CPU, and copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch.overrides import TorchFunctionMode, _pop_mode_temporarily
from torch.utils._pytree import tree_leaves

from lantern_probe.capture.attention import reading_attention
from lantern_probe.causal.ablation import Ablation
from lantern_probe.causal.patching.sweep import Sweep
from lantern_probe.errors import LanternError
from lantern_probe.interventions import Cut, KnockOut, parse_condition
from lantern_probe.interventions.patches import layer_sites, shams, whole
from lantern_probe.model import checkpoint, facts, memory, placement
from lantern_probe.model.checkpoint import untrain
from lantern_probe.model.device_maps import check_placement, is_spread
from lantern_probe.model.lantern import LanternModel
from lantern_probe.model.placement import execution_device, is_whole, weight_of
from lantern_probe.model.replay import replay
from lantern_probe.records.run import Run
from lantern_probe.tasks.sample import Sample
from lantern_probe.tasks.scenes import scenes, twin
from lantern_probe.tasks.twins import with_twins

CPU = torch.device("cpu")
INDEXING = ("__getitem__", "__setitem__", "index_put_", "index_put", "index")
STRICT = ("cat", "stack", "concat", "embedding", "linear", "equal", "gather", "matmul", "bmm")
"""Functions that take no number from another device."""


class MixedDevicesError(RuntimeError):
    """Tensors of two devices met in one call."""


def place(tensor: torch.Tensor) -> torch.device:
    """Where a tensor says it is."""
    return getattr(tensor, "_pretended", CPU)


def put(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Say where a tensor is."""
    tensor._pretended = device  # type: ignore[attr-defined]
    return tensor


def gpu(number: int) -> torch.device:
    """A GPU that does not exist."""
    return torch.device("cuda", number)


def tensors_in(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def as_device(device: Any) -> torch.device:
    found = gpu(device) if isinstance(device, int) else torch.device(device)
    return gpu(0) if found.type == "cuda" and found.index is None else found


class PretendedDevices(TorchFunctionMode):
    """Keep tensors apart by the device that they say they are on."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._property(func, args)
        if name in ("__set__", "__delete__"):
            return func(*args, **kwargs)
        if name in ("to", "cpu"):
            return self._move(func, name, args, kwargs)
        if name == "numpy" and place(args[0]) != CPU:
            raise MixedDevicesError(f"numpy of a tensor on {place(args[0])}")
        target = None
        if kwargs.get("device") is not None:
            target = as_device(kwargs["device"])
            kwargs["device"] = "meta" if target.type == "meta" else "cpu"
        inputs = tensors_in((args, kwargs))
        self._check(name, args, inputs)
        output = func(*args, **kwargs)
        if target is None:
            target = next((d for d in map(place, inputs) if d != CPU), CPU)
            if name in INDEXING:
                target = place(args[0])
        given = {id(tensor) for tensor in inputs}
        for tensor in tensors_in(output):
            if id(tensor) not in given:
                put(tensor, target)
        return output

    def _property(self, func: Any, args: Any) -> Any:
        name = getattr(func.__self__, "__name__", "")
        if name == "device":
            real = func(*args)
            return real if real.type == "meta" else place(args[0])
        if name in ("is_cuda", "is_cpu"):
            return place(args[0]).type == name.removeprefix("is_")
        output = func(*args)
        for tensor in tensors_in(output):
            if tensor is not args[0]:
                put(tensor, place(args[0]))
        return output

    def _check(self, name: str, args: Any, inputs: list[torch.Tensor]) -> None:
        if name == "copy_":
            return
        if name in INDEXING:
            own, index = place(args[0]), tensors_in(args[1])
            value = tensors_in(args[2:]) if index else []  # without, it is a copy
            found = {place(tensor) for tensor in index} - {CPU}
            found |= {place(tensor) for tensor in value if tensor.dim()}
            if found - {own}:
                raise MixedDevicesError(f"{name}: {own} and {found}")
            return
        # A number on the CPU may meet a tensor on a GPU.
        found = {place(t) for t in inputs if t.dim() or place(t) != CPU or name in STRICT}
        if len(found) > 1:
            raise MixedDevicesError(f"{name}: {found}, {[tuple(t.shape) for t in inputs]}")

    def _move(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        tensor, rest = args[0], list(args[1:])
        target = CPU if name == "cpu" else None
        if kwargs.get("device") is not None:
            target, kwargs["device"] = as_device(kwargs["device"]), "cpu"
        if isinstance(kwargs.get("other"), torch.Tensor):
            target = place(kwargs["other"])
        for at, item in enumerate(rest):
            if isinstance(item, torch.Tensor):
                target = place(item)
            elif isinstance(item, str | torch.device) or (at == 0 and type(item) is int):
                target, rest[at] = as_device(item), "cpu"
        moved = target is not None and target != place(tensor)
        output = tensor if name == "cpu" else func(tensor, *rest, **kwargs)
        if moved and output is tensor:
            output = tensor.clone()
        return output if output is tensor else put(output, target or place(tensor))


def over_two(model: Any) -> Any:
    """Put a model over two such GPUs, so that hardly two modules in a row are on the same one."""
    count = len(model.model.language_model.layers)
    places = {"model.visual": 1, "model.language_model.embed_tokens": 0, "lm_head": 0}
    places |= {"model.language_model.norm": 1, "model.language_model.rotary_emb": 0}
    places |= {f"model.language_model.layers.{layer}": layer % 2 for layer in range(count)}
    for name, number in places.items():
        module = model.get_submodule(name)
        for tensor in (*module.parameters(), *module.buffers()):
            put(tensor, gpu(number))
        add_hook_to_module(module, AlignDevicesHook(execution_device=gpu(number)))
    add_hook_to_module(model, AlignDevicesHook(execution_device=gpu(0), io_same_device=True))
    model.hf_device_map = places
    return model


class Placing:
    """transformers' loader of models, whose models are placed by a function.

    Args:
        loader: The loader itself.
        places: Function that places a loaded model.
    """

    def __init__(self, loader: Any, places: Callable[[Any], Any]):
        self._loader, self._places = loader, places

    def from_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        if torch.overrides._get_current_function_mode() is None:
            model, info = self._loader.from_pretrained(*args, **kwargs)
        else:
            with _pop_mode_temporarily():
                model, info = self._loader.from_pretrained(*args, **kwargs)
        return self._places(model), info


@pytest.fixture(scope="module")
def whole_model() -> LanternModel:
    return LanternModel("faithful")


@contextmanager
def placed(places: Callable[[Any], Any]) -> Iterator[LanternModel]:
    """The faithful organism, placed by a function as it is loaded."""
    with pytest.MonkeyPatch.context() as patch:
        loader = Placing(checkpoint.AutoModelForImageTextToText, places)
        patch.setattr(checkpoint, "AutoModelForImageTextToText", loader)
        for module in (memory, placement):
            patch.setattr(module, "free_memory", lambda device: 4 * 10**9)
        patch.setattr(facts, "_name_of", lambda device: None)
        yield LanternModel("faithful")


@pytest.fixture
def two(recwarn: pytest.WarningsRecorder) -> Iterator[LanternModel]:
    with PretendedDevices(), placed(over_two) as lantern:
        yield lantern


def offloaded(model: Any) -> Any:
    """Weights kept elsewhere, and brought to the device of a layer as it runs."""
    return accelerate.cpu_offload(model, execution_device=CPU)


def outcomes(lantern: LanternModel, samples: list[Sample], folder: Path, names: Any) -> Any:
    with Run.open(folder, {}) as run:
        Ablation(lantern, samples, [parse_condition(name) for name in names], run).execute()
        rows = run.rows()
    assert {row["status"] for row in rows} == {"ok"}
    keys = ("sample", "condition", "text", "answer", "donor", "emitted")
    return sorted(tuple(str(row.get(key)) for key in keys) for row in rows), rows


def test_the_pretence_refuses_what_gpus_refuse() -> None:
    with PretendedDevices():
        one, other = (torch.ones(3, device=gpu(number)) for number in (0, 1))
        here = torch.ones(3)
        number = torch.tensor(2.0)
        mixed: list[Callable[[], Any]] = [
            lambda: one + other,
            lambda: one + here,
            lambda: torch.cat([one, other]),
            lambda: torch.equal(one, here),
            lambda: one @ other,
            lambda: one[other.long()],
            lambda: one.masked_fill_(other > 0, 1.0),
            lambda: torch.where(one > 0, one, other),
            lambda: one.__setitem__(here.long(), other),
            lambda: torch.stack([number, one.sum()]),
            lambda: one.numpy(),
        ]
        for call in mixed:
            with pytest.raises(MixedDevicesError):
                call()
        for found in (one * number, one[here.long()], one.new_zeros(2), one + other.to(one)):
            assert found.device == gpu(0)
        assert other.cpu().device == CPU and torch.zeros_like(other).device == gpu(1)
        one[:2] = other[:2]


KNOCKOUTS = tuple(KnockOut(Cut("after", keys, layers="1-2")).label for keys in ("slot", "image"))
NAMES = (
    *(
        "own",
        "oracle",
        "zeros",
        "swap",
        "mean",
        "noise-matched",
        "shuffle",
        "rescale",
        "k-slots:k=4",
    ),
    *("skip", "ban", "stock", "direct", "mask", "force", "pause"),
)


def test_ablations_are_the_same_over_two_devices(
    two: LanternModel, whole_model: LanternModel, tmp_path: Path
) -> None:
    samples = scenes(3, seed=11)
    found, rows = outcomes(two, samples, tmp_path / "two", NAMES)
    with _pop_mode_temporarily():
        expected, wanted = outcomes(whole_model, samples, tmp_path / "one", NAMES)
    assert found == expected and len(found) == 3 * len(NAMES)
    assert all(_numbers(row) for row in rows)
    for ours, theirs in zip(rows, wanted, strict=True):
        pairs = zip(_numbers(ours), _numbers(theirs), strict=True)
        assert all(abs(a - b) <= 1e-3 * max(1.0, abs(b)) for a, b in pairs)


def _numbers(row: Any) -> list[float]:
    return [leaf for leaf in tree_leaves(row.get("logprobs")) if isinstance(leaf, float)]


def test_patches_are_the_same_over_two_devices(
    two: LanternModel, whole_model: LanternModel, tmp_path: Path
) -> None:
    samples, _ = with_twins(scenes(2, 3), lambda s: twin(s, "color"), answers_known=True)
    sites = layer_sites(("residual", "mlp"), (1, 2), ("slot", "last-question"))
    cells = [*whole(sites), *shams(sites)]

    def effects(lantern: LanternModel, folder: Path) -> list[Any]:
        with Run.open(folder, {}) as run:
            Sweep(lantern, samples, cells, run).execute()
            rows = run.rows()
        assert {row["status"] for row in rows} == {"ok"}
        return [row[key] for row in rows for key in sorted(row) if isinstance(row[key], float)]

    found = effects(two, tmp_path / "two")
    with _pop_mode_temporarily():
        expected = effects(whole_model, tmp_path / "one")
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_captures_and_attention_are_the_same_over_two_devices(
    two: LanternModel, whole_model: LanternModel
) -> None:
    samples = scenes(2, seed=12)
    sites = ["latent@slot", "residual.*@answer-start", "mlp.2@slot", "vision@image-mean"]

    def read(lantern: LanternModel) -> tuple[Any, Any]:
        captured = lantern.capture(samples, sites)
        finished = replay(lantern, samples, captured.output)
        queries = [torch.tensor([finished.ids.shape[1] - 1])] * len(samples)
        with reading_attention(lantern, queries) as reading, torch.no_grad():
            lantern.hf.model(**finished.inputs)
        return captured.activations, [weights.cpu() for weights in reading.weights]

    activations, attention = read(two)
    with _pop_mode_temporarily():
        expected, weights = read(whole_model)
    assert {*activations} == {*expected}
    for name, values in activations.items():
        torch.testing.assert_close(values, expected[name], rtol=1e-4, atol=1e-4, equal_nan=True)
    for ours, theirs in zip(attention, weights, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_memory_counts_the_layers_of_each_device(two: LanternModel) -> None:
    assert two.device == gpu(0) and {*two.layer_devices} == {gpu(0), gpu(1)}
    assert two.free_memory() == 2 * 4e9


def test_weights_kept_elsewhere_give_the_same_rows(
    whole_model: LanternModel, tmp_path: Path
) -> None:
    samples = scenes(3, seed=13)
    expected, _ = outcomes(whole_model, samples, tmp_path / "one", NAMES)
    with placed(offloaded) as away:
        assert all(weight.device.type == "meta" for weight in away.hf.parameters())
        assert away.device == CPU
        found, rows = outcomes(away, samples, tmp_path / "away", NAMES)
        assert found == expected
        assert rows[0]["end_cosines"] is not None
        embedding = whole_model.hf.get_input_embeddings()
        assert torch.equal(weight_of(away.hf.get_input_embeddings()), embedding.weight)
        assert not is_whole(away.hf)
        with pytest.raises(LanternError, match="where it fits into memory"):
            untrain(away)


def test_auto_is_one_device_where_there_is_one(whole_model: LanternModel) -> None:
    spread = LanternModel("faithful", device_map="auto")
    sample = scenes(1, seed=14)[0]
    assert spread.device == whole_model.device
    assert spread.generate(sample).texts == whole_model.generate(sample).texts
    assert execution_device(spread.hf.lm_head) == whole_model.device


def test_a_placement_is_a_way_to_spread_or_a_device() -> None:
    for good in (None, "auto", "balanced", "sequential", "cpu", "cuda:1", {"": 0}, 0):
        check_placement(good)
    for bad in ("all", "gpu", "cuda:x", "", "auto:2"):
        with pytest.raises(LanternError, match="take auto, balanced"):
            check_placement(bad)
    assert is_spread("auto") and is_spread({"a": 0, "b": 1})
    assert not is_spread("cpu") and not is_spread({"": 0}) and not is_spread(None)
