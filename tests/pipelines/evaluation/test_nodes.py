"""The component table of the stage evaluation."""

from dataclasses import replace
from io import StringIO

import dask.array as da
import numpy as np
import pandas as pd
from tests.pipelines.reporting.made_up import (
    EXCLUDED,
    T,
    make_components,
    make_images,
    make_motion,
    make_quality,
    make_recording,
    make_spikes,
)

from rsc2p_kedro.core import schemas
from rsc2p_kedro.core.parameters import CaimanSettings, Compute, MotionCorrectionParameters
from rsc2p_kedro.pipelines.evaluation.nodes import measure_red_labels, tabulate_components

QUIET = Compute(show_progress=False)

PROBABILITIES = np.array([[0.9, 0.1, 0, 0], [0.2, 0.7, 0.1, 0], [1, 0, 0, 0]], np.float32)
COLUMNS = ["soma_probability", "process_probability", "out_of_focus_probability", "other_probability"]


def _table(*, silent: bool, classified: bool) -> pd.DataFrame:
    components, quality = make_components(3), make_quality(3)
    if silent:
        components = replace(components, silent=np.array([False, False, True]))
    if classified:
        last = "silent" if silent else "soma"
        quality = replace(quality, component_class=("soma", "process", last), class_probabilities=PROBABILITIES)
    table = tabulate_components(components, quality, make_spikes(3), EXCLUDED, make_recording())
    return schemas.ComponentTable.validate(table)


def test_classes_and_probabilities_are_in_the_table() -> None:
    table = _table(silent=True, classified=True)
    assert table["component_class"].tolist() == ["soma", "process", "silent"]
    np.testing.assert_allclose(table[COLUMNS], PROBABILITIES, rtol=1e-6)


def test_without_a_classifier_only_silent_components_have_a_class() -> None:
    table = _table(silent=True, classified=False)
    assert table["component_class"].isna().tolist() == [True, True, False]
    assert table["component_class"][2] == "silent"
    assert table[COLUMNS].isna().all(axis=None)
    assert _table(silent=False, classified=False)["component_class"].isna().all()


def test_a_table_survives_csv() -> None:
    for silent in (True, False):
        table = _table(silent=silent, classified=False).assign(reason="accepted: snr")
        again = schemas.ComponentTable.validate(pd.read_csv(StringIO(table.to_csv(index=False))))
        assert again["component_class"].isna().tolist() == table["component_class"].isna().tolist()
        assert again["component_class"].dropna().tolist() == ["silent"] * silent


def test_what_both_channels_show_in_excluded_frames_does_not_count_as_crosstalk() -> None:
    motion, images = make_motion(), make_images()
    movies = np.random.default_rng(3).random((2, T, *motion.template.shape)).astype(np.float32)
    labels = []
    for flash in (0.0, 1000.0):
        movies[:, EXCLUDED["excluded"]] = flash
        structural, functional = (da.from_array(movie) for movie in movies)
        arguments = (structural, functional, motion, make_components(3), EXCLUDED, images, images, make_recording())
        labels.append(measure_red_labels(*arguments, MotionCorrectionParameters(), QUIET, CaimanSettings()))
    assert labels[0].crosstalk == labels[1].crosstalk
    np.testing.assert_array_equal(labels[0].red_signal, labels[1].red_signal)
