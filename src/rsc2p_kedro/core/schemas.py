"""Schemas of tables: one pandera model per table, which the catalog's `validator:` key applies on save and on load.

Columns whose names end in px, s or hz have these units; counts are the units of the movie.
"""

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from rsc2p_kedro.core.results import COMPONENT_CLASSES, SILENT


class _Table(pa.DataFrameModel):
    """A table with exactly the columns of its schema, converted to their dtypes."""

    class Config:
        strict = True
        coerce = True


class FileTable(_Table):
    """Files of the raw recording in reading order, one row per file."""

    file: Series[str] = pa.Field(unique=True, description="Name of the file, relative to the recording's path.")
    n_frames: Series[int] = pa.Field(ge=1, description="Number of frames in the file, whether used or not.")


class FrameTable(_Table):
    """Frames of the raw recording, one row per frame."""

    frame: Series[int] = pa.Field(ge=0, unique=True, description="Index of the frame in the movie.")
    file: Series[str] = pa.Field(description="Name of the file that holds the frame, relative to the recording's path.")
    page: Series[int] = pa.Field(ge=0, description="Page of that file.")
    trial: Series[str] = pa.Field(description="Name of the file in which the trial of the frame begins.")
    minimum: Series[float] = pa.Field(description="Lowest pixel value, counts.")
    mean: Series[float] = pa.Field(description="Mean pixel value, counts.")
    maximum: Series[float] = pa.Field(description="Highest pixel value, counts.")
    saturated_share: Series[float] = pa.Field(
        ge=0, le=1, description="Fraction of the pixels that have the highest value of the whole recording."
    )
    time_s: Series[float] | None = pa.Field(
        description="Start of the frame in s from the start of the recording; only where the files tell it."
    )


class ExclusionTable(_Table):
    """Frames that are left out of all computations, and why, one row per frame of the movie."""

    frame: Series[int] = pa.Field(ge=0, unique=True, description="Index of the frame in the movie.")
    excluded: Series[bool] = pa.Field(description="Whether the frame is left out.")
    reason: Series[str] = pa.Field(description="What is wrong with the frame, excluded or not; empty for a good frame.")


class MotionTable(_Table):
    """Motion and registration quality, one row per frame."""

    frame: Series[int] = pa.Field(ge=0, unique=True, description="Index of the frame in the movie.")
    shift_y_px: Series[float] = pa.Field(description="Rigid shift along y that was applied to the frame.")
    shift_x_px: Series[float] = pa.Field(description="Rigid shift along x that was applied to the frame.")
    largest_deviation_px: Series[float] = pa.Field(
        ge=0, description="Largest distance between the shift of a patch and the rigid shift."
    )
    peak_quality: Series[float] = pa.Field(
        description="Height of the cross-correlation peak in standard deviations of its surroundings."
    )
    correlation_before: Series[float] = pa.Field(
        ge=-1.001, le=1.001, description="Correlation of the raw frame with the template."
    )
    correlation_after: Series[float] = pa.Field(
        ge=-1.001, le=1.001, description="Correlation of the corrected frame with the template."
    )
    registered: Series[bool] = pa.Field(description="Whether the frame could be registered.")


class MotionQualityTable(_Table):
    """Registration quality of the whole recording, one row per measure."""

    measure: Series[str] = pa.Field(
        isin=["template_correlation", "crispness", "residual_motion_px"], description="Name of the measure."
    )
    before: Series[float] = pa.Field(description="Value for the raw movie.")
    after: Series[float] = pa.Field(description="Value for the corrected movie.")
    standard_error: Series[float] = pa.Field(
        nullable=True, description="Standard error of the change; empty where the movie is too short to estimate it."
    )
    improved: Series[bool] = pa.Field(description="Whether the correction improved it.")


class LineageTable(_Table):
    """Lineage of components between fit and refit, one row per component of either."""

    component_id: Series[int] = pa.Field(ge=0, description="Id of the component; of a removed one, in the first fit.")
    event: Series[str] = pa.Field(
        isin=["kept", "merged", "split", "new", "removed"], description="Outcome of the refit for the component."
    )
    parents: Series[str] = pa.Field(description="Ids of its parents in the first fit, separated by spaces.")
    reason: Series[str] = pa.Field(description="Reason for the event, in words.")


class ComponentTable(_Table):
    """Position, quality and acceptance of components, one row per component."""

    component_id: Series[int] = pa.Field(ge=0, unique=True, description="Id of the component.")
    centre_y_px: Series[float] = pa.Field(ge=0, description="Centre of mass of the footprint.")
    centre_x_px: Series[float] = pa.Field(ge=0, description="Centre of mass of the footprint.")
    area_px: Series[int] = pa.Field(ge=1, description="Number of pixels above a fifth of the footprint's maximum.")
    snr: Series[float] = pa.Field(description="Signal-to-noise ratio of the transients, on CaImAn's scale.")
    r_value: Series[float] = pa.Field(
        ge=-1.001, le=1.001, description="Correlation of the footprint with the mean image of its transients."
    )
    classifier_score: Series[float] = pa.Field(
        nullable=True, ge=0, le=1, description="Score of the classifier; empty where none was used."
    )
    component_class: Series[str] = pa.Field(
        nullable=True,
        isin=[*COMPONENT_CLASSES, SILENT],
        description="Class of the component: the most probable one, or `silent`; empty where no classifier was used.",
    )
    soma_probability: Series[float] = pa.Field(
        nullable=True, ge=0, le=1, description="Probability that it is the soma of a neuron; empty as above."
    )
    process_probability: Series[float] = pa.Field(
        nullable=True, ge=0, le=1, description="Probability that it is a dendrite, axon or bouton."
    )
    out_of_focus_probability: Series[float] = pa.Field(
        nullable=True, ge=0, le=1, description="Probability that it is a soma above or below the focal plane."
    )
    other_probability: Series[float] = pa.Field(
        nullable=True, ge=0, le=1, description="Probability that it is anything else: a piece, a vessel, noise."
    )
    red_signal: Series[float] | None = pa.Field(
        nullable=True,
        description="Mean of the structural channel inside the component minus that around it, counts, after "
        "subtraction of the crosstalk; only of recordings with a structural channel.",
    )
    red_probability: Series[float] | None = pa.Field(
        nullable=True, ge=0, le=1, description="Probability that the component has the label of the structural channel."
    )
    baseline: Series[float] = pa.Field(description="Constant fluorescence below the trace, counts.")
    noise: Series[float] = pa.Field(ge=0, description="Standard deviation of the noise of the trace, counts.")
    decay_time_s: Series[float] = pa.Field(
        nullable=True, description="Decay time constant from the AR coefficients; empty where they do not decay."
    )
    n_transients: Series[int] = pa.Field(ge=0, description="Number of transients that `r_value` was computed from.")
    event_rate_hz: Series[float] = pa.Field(ge=0, description="Inferred spiking events per second.")
    accepted: Series[bool] = pa.Field(description="Whether the component is accepted as a cell.")
    reason: Series[str] = pa.Field(description="Reason for acceptance or rejection.")
    curated: Series[bool] = pa.Field(description="Whether the decision comes from the user's curation table.")
    tracked_id: Series[str] | None = pa.Field(
        nullable=True,
        description="Id of the neuron over the sessions of the animal; `untracked` where it was rejected or the "
        "session shows another place. Only where the animal has several sessions.",
    )
    tracking_probability: Series[float] | None = pa.Field(
        nullable=True, ge=0, le=1, description="Probability that the component belongs to this neuron."
    )
    tracking_reason: Series[str] | None = pa.Field(
        nullable=True, description="Why the component is not tracked; empty if it is."
    )


class AllComponentsTable(ComponentTable):
    """Components of all recordings, one row per component."""

    recording: Series[str] = pa.Field(description="Name of the recording, animal.session.")
    component_id: Series[int] = pa.Field(ge=0, description="Unique within its recording.")


class ComponentMeasureTable(_Table):
    """Shapes, duplicates and coverage of the accepted components, without ground truth, one row per measure."""

    measure: Series[str] = pa.Field(unique=True, description="Name of the measure.")
    count: Series[int] = pa.Field(ge=0, description="Number of components or pixels that it applies to.")
    total: Series[int] = pa.Field(ge=0, description="Number of accepted components, or of pixels of high correlation.")
    share: Series[float] = pa.Field(nullable=True, ge=0, le=1, description="Count / total; empty if the total is 0.")
    unit: Series[str] = pa.Field(isin=["components", "px"], description="What is counted.")
    description: Series[str] = pa.Field(description="Definition of the measure.")


class ReproducibilityTable(_Table):
    """Components of one half of the frames that the other half finds again, one row per half and one for both."""

    half: Series[str] = pa.Field(isin=["first", "second", "both"], unique=True, description="Half of the frames.")
    accepted: Series[int] = pa.Field(ge=0, description="Number of components accepted in it.")
    accepted_again: Series[int] = pa.Field(
        ge=0, description="Those that match a component accepted in the other half (IoU >= 0.5, one to one)."
    )
    share_accepted_again: Series[float] = pa.Field(nullable=True, ge=0, le=1, description="Empty if none is accepted.")
    extracted_again: Series[int] = pa.Field(
        ge=0, description="Those that match any component of the other half, accepted or not."
    )
    share_extracted_again: Series[float] = pa.Field(nullable=True, ge=0, le=1, description="Empty if none is accepted.")


class CurationTable(_Table):
    """Decisions of the user on components, one row per decision."""

    component_id: Series[int] = pa.Field(ge=0, unique=True, description="Id of the component.")
    decision: Series[str] = pa.Field(isin=["accept", "reject"], description="Whether the component is a cell.")
    note: Series[str] = pa.Field(nullable=True, description="The user's reason; may be empty.")
    centre_y_px: Series[float] = pa.Field(
        nullable=True,
        description="Centre of the component that it was made for: the decision follows the neuron there.",
    )
    centre_x_px: Series[float] = pa.Field(nullable=True, description="The same along x.")


class TrackingTable(_Table):
    """The same neurons over the sessions of one animal (and plane), one row per component."""

    animal: Series[str] = pa.Field(description="Name of the animal.")
    neuron_id: Series[str] = pa.Field(
        description="Id of the neuron: the session and the component in which it was first seen, `day_1#12`."
    )
    session: Series[str] = pa.Field(description="Name of the session.")
    component_id: Series[int] = pa.Field(ge=0, description="Id of the component in this session.")
    probability: Series[float] = pa.Field(
        ge=0,
        le=1,
        description="Probability that the component belongs to the neuron; of a neuron found once, that it is none of "
        "the others.",
    )
    rival_probability: Series[float] = pa.Field(
        ge=0, le=1, description="Highest probability that the component belongs to another neuron."
    )
    n_sessions: Series[int] = pa.Field(ge=1, description="Number of sessions in which the neuron was found.")
    doubtful: Series[bool] = pa.Field(description="Whether a look at the component is worth while.")


class TrackedIdTable(_Table):
    """Neurons of the accepted components of one session, one row per component; empty before the first tracking."""

    component_id: Series[int] = pa.Field(ge=0, unique=True, description="Id of the component.")
    tracked_id: Series[str] = pa.Field(description="Id of its neuron, or `untracked`.")
    tracking_probability: Series[float] = pa.Field(ge=0, le=1, description="Probability that it belongs to the neuron.")
    tracking_reason: Series[str] = pa.Field(description="Why it is not tracked; empty if it is.")


class TrackingDecisionTable(_Table):
    """Decisions of the user on pairs of components of different sessions, one row per decision."""

    session_a: Series[str] = pa.Field(description="Name of one session.")
    component_a: Series[int] = pa.Field(ge=0, description="Id of the component there.")
    session_b: Series[str] = pa.Field(description="Name of another session.")
    component_b: Series[int] = pa.Field(ge=0, description="Id of the component there.")
    decision: Series[str] = pa.Field(isin=["same", "different"], description="Whether both are one neuron.")
    note: Series[str] = pa.Field(nullable=True, description="The user's reason; may be empty.")


class InspectionTable(_Table):
    """Messages of the validators of the NWB file, one row per message; empty where they have none."""

    check: Series[str] = pa.Field(description="Name of the check.")
    importance: Series[str] = pa.Field(description="Importance, as nwbinspector calls it.")
    object_type: Series[str] = pa.Field(description="Type of the object in the file.")
    object_name: Series[str] = pa.Field(description="Name of the object in the file.")
    location: Series[str] = pa.Field(description="Path of the object in the file.")
    message: Series[str] = pa.Field(description="Text of the message.")


class AssessmentTable(_Table):
    """Automatic assessment of a recording, one row per check."""

    check: Series[str] = pa.Field(unique=True, description="Name of the check.")
    level: Series[str] = pa.Field(isin=["ok", "review", "problem"], description="Result of the check.")
    finding: Series[str] = pa.Field(description="The numbers behind the level, in a sentence.")
    recommendation: Series[str] = pa.Field(description="Recommended action; empty if none is needed.")


class RecordingsTable(_Table):
    """Key figures of all recordings, one row per recording."""

    recording: Series[str] = pa.Field(
        unique=True, description="Name of the recording, animal.session, or animal.session.plane_k of several planes."
    )
    plane: Series[pd.Int64Dtype] | None = pa.Field(
        nullable=True, ge=1, description="Number of the plane; only where any recording has several."
    )
    n_frames: Series[int] = pa.Field(ge=1, description="Number of frames.")
    height_px: Series[int] = pa.Field(ge=1, description="Height of a frame.")
    width_px: Series[int] = pa.Field(ge=1, description="Width of a frame.")
    pixel_height_um: Series[float] = pa.Field(nullable=True, gt=0, description="Height of a pixel; empty if unknown.")
    pixel_width_um: Series[float] = pa.Field(nullable=True, gt=0, description="Width of a pixel; empty if unknown.")
    frame_rate_hz: Series[float] = pa.Field(gt=0, description="Frames per second.")
    template_correlation_before: Series[float] = pa.Field(
        description="Mean correlation of the registered raw frames with the template."
    )
    template_correlation_after: Series[float] = pa.Field(
        description="Mean correlation of the registered corrected frames with the template."
    )
    unregistered_frames: Series[int] = pa.Field(
        ge=0, description="Number of frames that were excluded before registration or could not be registered."
    )
    components_fit: Series[int] = pa.Field(ge=0, description="Number of components of the first fit.")
    components_refit: Series[int] = pa.Field(ge=0, description="Number of components of the refit.")
    components_accepted: Series[int] = pa.Field(ge=0, description="Number of accepted components of the refit.")
    median_snr_accepted: Series[float] = pa.Field(
        nullable=True, description="Median SNR of the accepted components; empty where none is accepted."
    )
    inspection_messages: Series[int] = pa.Field(ge=0, description="Number of messages in the inspection table.")


class TruthScoreTable(_Table):
    """Agreement of the results of a simulated recording with its ground truth, one row per measure."""

    measure: Series[str] = pa.Field(unique=True, description="Name of the measure.")
    value: Series[float] = pa.Field(nullable=True, description="Value; empty where undefined for lack of matches.")
    unit: Series[str] = pa.Field(description="Unit; empty for a number without unit.")
    description: Series[str] = pa.Field(description="Definition of the measure.")


class EngineAgreementTable(_Table):
    """Agreement of two engines on one recording, one row per measure."""

    measure: Series[str] = pa.Field(unique=True, description="Name of the measure.")
    unit: Series[str] = pa.Field(description="Unit; empty for a number without unit.")
    embedded: Series[float] = pa.Field(nullable=True, description="Value for the embedded engine.")
    caiman: Series[float] = pa.Field(nullable=True, description="Value for CaImAn.")
    both: Series[float] = pa.Field(nullable=True, description="Value of a measure of both together.")
    description: Series[str] = pa.Field(description="Definition of the measure.")
