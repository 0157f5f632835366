"""What a simulated recording looks like."""

from pydantic import Field

from rsc2p_kedro.parameters import FrozenModel


class SimulationSettings(FrozenModel):
    """Settings of one simulated movie with known motion, footprints, traces and spikes."""

    seed: int = Field(1, ge=0, description="Another seed makes another recording; the same seed makes the same bits.")
    n_frames: int = Field(600, ge=8, description="Length in frames.")
    height_px: int = Field(128, ge=32, description="Rows of a frame.")
    width_px: int = Field(128, ge=32, description="Columns of a frame.")
    n_neurons: int = Field(30, ge=0, description="Neurons, some hollow, some overlapping.")
