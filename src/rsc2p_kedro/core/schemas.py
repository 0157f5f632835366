"""One pandera model per table. The catalog's `validator:` key checks every table on save and on load."""

import pandera.pandas as pa
from pandera.typing import Series


class _Table(pa.DataFrameModel):
    class Config:
        strict = True
        coerce = True


class FileTable(_Table):
    """One row a file of the raw recording, in reading order."""

    file: Series[str] = pa.Field(unique=True, description="Name of the file, below the recording's path.")
    n_frames: Series[int] = pa.Field(ge=1, description="Frames it holds on disk, whether they are used or not.")


class FrameTable(_Table):
    """One row a frame of the raw recording."""

    frame: Series[int] = pa.Field(ge=0, unique=True, description="Index in the movie.")
    file: Series[str] = pa.Field(description="Name of the file it came from, below the recording's path.")
    page: Series[int] = pa.Field(ge=0, description="Page in that file.")
    minimum: Series[float]
    mean: Series[float]
    maximum: Series[float]
    saturated_share: Series[float] = pa.Field(
        ge=0, le=1, description="Share of pixels at the highest value of the recording: its ceiling, where many are."
    )


class MotionTable(_Table):
    """One row a frame: its motion, and whether correcting it helped."""

    frame: Series[int] = pa.Field(ge=0, unique=True)
    shift_y_px: Series[float] = pa.Field(description="Rigid shift applied to the frame.")
    shift_x_px: Series[float]
    largest_deviation_px: Series[float] = pa.Field(
        ge=0, description="Largest distance of a patch's shift from the rigid one."
    )
    peak_quality: Series[float] = pa.Field(description="Correlation peak over the noise around it.")
    correlation_before: Series[float] = pa.Field(ge=-1.001, le=1.001, description="Of the raw frame with the template.")
    correlation_after: Series[float] = pa.Field(ge=-1.001, le=1.001, description="Of the corrected frame.")
    registered: Series[bool]


class MotionQualityTable(_Table):
    """One row a measure of the whole recording, before and after correction."""

    measure: Series[str] = pa.Field(isin=["template_correlation", "crispness", "residual_motion_px"])
    before: Series[float]
    after: Series[float]
    improved: Series[bool]


class LineageTable(_Table):
    """One row a component of the first fit or the refit: what became of it."""

    component_id: Series[int] = pa.Field(ge=0)
    event: Series[str] = pa.Field(isin=["kept", "merged", "split", "new", "removed"])
    parents: Series[str] = pa.Field(description="Ids in the first fit it came from, separated by spaces.")
    reason: Series[str]


class ComponentTable(_Table):
    """One row a component: where it is, how good it is, whether it is taken for a cell."""

    component_id: Series[int] = pa.Field(ge=0, unique=True)
    centre_y_px: Series[float] = pa.Field(ge=0)
    centre_x_px: Series[float] = pa.Field(ge=0)
    area_px: Series[int] = pa.Field(ge=1, description="Pixels above a fifth of the footprint's maximum.")
    snr: Series[float]
    r_value: Series[float] = pa.Field(ge=-1.001, le=1.001)
    classifier_score: Series[float] = pa.Field(
        nullable=True, ge=0, le=1, description="Empty where no classifier was asked for."
    )
    baseline: Series[float]
    noise: Series[float] = pa.Field(ge=0)
    decay_time_s: Series[float] = pa.Field(
        nullable=True, description="From the AR coefficients; empty where they do not decay."
    )
    n_transients: Series[int] = pa.Field(ge=0)
    event_rate_hz: Series[float] = pa.Field(ge=0, description="Likely rises of calcium per second.")
    accepted: Series[bool]
    reason: Series[str]
    curated: Series[bool] = pa.Field(description="Whether the user decided.")


class AllComponentsTable(ComponentTable):
    """One row a component of any recording."""

    recording: Series[str] = pa.Field(description="animal.session.")
    component_id: Series[int] = pa.Field(ge=0, description="Unique within its recording.")


class CurationTable(_Table):
    """One row a decision of the user on a component."""

    component_id: Series[int] = pa.Field(ge=0, unique=True)
    decision: Series[str] = pa.Field(isin=["accept", "reject"])
    note: Series[str] = pa.Field(nullable=True, description="The user's reason; may be empty.")


class InspectionTable(_Table):
    """One row a message of a check of the NWB file; none where it is in order."""

    check: Series[str]
    importance: Series[str]
    object_type: Series[str]
    object_name: Series[str]
    location: Series[str]
    message: Series[str]


class VerdictTable(_Table):
    """One row a question about a recording, answered from its numbers."""

    question: Series[str] = pa.Field(unique=True)
    level: Series[str] = pa.Field(isin=["good", "look", "bad"], description="In order, needs a look, not in order.")
    answer: Series[str]
    advice: Series[str] = pa.Field(description="What to do; empty where there is nothing to do.")


class RecordingsTable(_Table):
    """One row a recording: the run at a glance."""

    recording: Series[str] = pa.Field(unique=True)
    n_frames: Series[int] = pa.Field(ge=1)
    height_px: Series[int] = pa.Field(ge=1)
    width_px: Series[int] = pa.Field(ge=1)
    pixel_height_um: Series[float] = pa.Field(nullable=True, gt=0, description="Empty where it is unknown.")
    pixel_width_um: Series[float] = pa.Field(nullable=True, gt=0)
    frame_rate_hz: Series[float] = pa.Field(gt=0)
    template_correlation_before: Series[float]
    template_correlation_after: Series[float]
    unregistered_frames: Series[int] = pa.Field(ge=0)
    components_fit: Series[int] = pa.Field(ge=0)
    components_refit: Series[int] = pa.Field(ge=0)
    components_accepted: Series[int] = pa.Field(ge=0)
    median_snr_accepted: Series[float] = pa.Field(nullable=True)
    inspection_messages: Series[int] = pa.Field(ge=0)


class TruthScoreTable(_Table):
    """One row a measure of a simulated recording against its truth."""

    measure: Series[str] = pa.Field(unique=True)
    value: Series[float] = pa.Field(nullable=True)
    unit: Series[str]
    description: Series[str]


class EngineAgreementTable(_Table):
    """One row a measure of two engines on one recording: of each, and of both together."""

    measure: Series[str] = pa.Field(unique=True)
    unit: Series[str]
    embedded: Series[float] = pa.Field(nullable=True)
    caiman: Series[float] = pa.Field(nullable=True)
    both: Series[float] = pa.Field(nullable=True)
    description: Series[str]
