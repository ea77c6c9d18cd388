"""Linear probes: what can be read from hidden states, with controls, and taken out of them again.

Logistic and ridge regressions on standardised features. They equal scikit-learn's and are much
faster where many problems share their features, as the labels and control labels of one site
(layer and slot) do. Folds keep the samples of an image together.

`folds`: groups to folds. `basis`: standardised features along their principal axes. `softmax`:
stacks of logistic regressions. `classify`, `ridge`: out-of-fold predictions. `penalties`: penalties
chosen inside the training folds. `controls`: labels without content, and the question as features.
`online_code`: description length. `site_scores`: a probe with all its controls. `estimators`: the
probes for scikit-learn's own tools. `erasure`: LEACE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lantern_probe.faces import lazily

if TYPE_CHECKING:
    from lantern_probe.probing.after_erasure import AfterErasure, read_after_erasure
    from lantern_probe.probing.classify import (
        Chosen,
        HeldOut,
        fit_predict,
        grid_predict,
        predict_split,
    )
    from lantern_probe.probing.erasure import (
        Eraser,
        LeaceEraser,
        fit_eraser,
        matched_eraser,
        random_eraser,
        removed_variance,
    )
    from lantern_probe.probing.estimators import LinearProbe, RidgeProbe
    from lantern_probe.probing.folds import group_folds
    from lantern_probe.probing.ridge import RidgeHeldOut, predict_ridge_split, ridge_predict
    from lantern_probe.probing.site_scores import ProbeSettings

__all__ = [
    "AfterErasure",
    "Chosen",
    "Eraser",
    "HeldOut",
    "LeaceEraser",
    "LinearProbe",
    "ProbeSettings",
    "RidgeHeldOut",
    "RidgeProbe",
    "fit_eraser",
    "fit_predict",
    "grid_predict",
    "group_folds",
    "matched_eraser",
    "predict_ridge_split",
    "predict_split",
    "random_eraser",
    "read_after_erasure",
    "removed_variance",
    "ridge_predict",
]

__getattr__ = lazily(
    __name__,
    after_erasure="AfterErasure read_after_erasure",
    classify="Chosen HeldOut fit_predict grid_predict predict_split",
    erasure="Eraser LeaceEraser fit_eraser matched_eraser random_eraser removed_variance",
    estimators="LinearProbe RidgeProbe",
    folds="group_folds",
    ridge="RidgeHeldOut predict_ridge_split ridge_predict",
    site_scores="ProbeSettings",
)
