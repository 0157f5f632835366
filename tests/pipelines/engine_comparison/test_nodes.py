"""The comparison runs the stages' own nodes, each by the engine it is told."""

from dataclasses import replace

import numpy as np
from tests.engines.test_comparison import make_run

from rsc2p_kedro.core.parameters import STAGE_PARAMETERS, CaimanSettings, EvaluationParameters, ExtractionParameters
from rsc2p_kedro.core.results import SummaryImages
from rsc2p_kedro.manifest.recordings import Recording
from rsc2p_kedro.pipelines.engine_comparison import create_pipeline, nodes


def recording(**facts) -> Recording:
    return Recording(animal="a", session_key="s", path="raw", frame_rate_hz=10.0, pixel_size_um=(1, 1), **facts)


def test_both_engines_get_the_same_parameters():
    shared = EvaluationParameters(engine="caiman", use_classifier=True)
    own = recording(parameters={"source_extraction": {"neuron_half_width_px": 6}})

    def seen(recording: Recording, parameters: EvaluationParameters) -> EvaluationParameters:
        return recording.override(parameters)

    first, second = (nodes.by_engine(seen, engine, own, shared) for engine in ("embedded", "caiman"))
    assert (first.engine, second.engine) == ("embedded", "caiman")
    assert first.model_copy(update={"engine": "caiman"}) == second
    by_caiman = own.with_engine("caiman")
    assert by_caiman.override(ExtractionParameters()).neuron_half_width_px == 6
    assert set(by_caiman.parameters) == set(STAGE_PARAMETERS) - {"ingestion"}
    assert "engine" not in own.parameters["source_extraction"]


def test_nodes_are_those_of_the_stages_with_datasets_of_their_own():
    pipeline = create_pipeline([recording(seeds="seeds.csv")])
    names = {node.short_name for node in pipeline.nodes}
    assert {"estimate_motion", "apply_motion", "fit_components", "refit_components", "compute_dff"} <= names
    free = {name for name in pipeline.inputs() if not name.startswith("params:")}
    measured = {"a.s.bad_frames", "a.s.detector_response", "a.s.detector_saturation", "a.s.frame_table"}
    assert free == {"a.s.movie", "a.s.seeds", *measured}
    assert pipeline.outputs() == {"a.s.engine_agreement_table", "a.s.engine_agreement_figure"}


def test_a_figure_can_be_drawn_where_one_engine_accepts_nothing():
    first, second = make_run(), make_run("caiman")
    nothing = replace(second, quality=replace(second.quality, accepted=np.zeros(4, bool)))
    image = np.random.default_rng(1).random(first.components.shape).astype(np.float32)
    figure = nodes.plot_agreement(first, nothing, SummaryImages(image, image, image, image), recording())
    assert len(figure.axes) == 5
    assert "both: 0" in figure.axes[0].get_legend().get_texts()[0].get_text()


def test_the_cost_of_applying_motion_counts_every_frame(monkeypatch):
    import dask.array as da

    from rsc2p_kedro.core.parameters import Compute, MotionCorrectionParameters

    read = []
    movie = da.zeros((30, 8, 8), chunks=(10, 8, 8))

    def counted(movie, motion, recording, parameters, caiman):
        return movie.map_blocks(
            lambda block: read.append(len(block)) or block, dtype=movie.dtype, meta=np.empty((0, 0, 0))
        )

    monkeypatch.setattr(nodes, "apply_motion", counted)
    cost = nodes.measure_apply_motion(
        "embedded", movie, make_run().motion, recording(), MotionCorrectionParameters(),
        Compute(threads=1, block_frames=10, show_progress=False), CaimanSettings(),
    )  # fmt: skip
    assert sum(read) == 30
    assert cost.step == "apply_motion"
