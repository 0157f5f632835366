"""Alignment of the fields of view of all sessions, and the refusal of those that show another place.

Each session is aligned with the mean of those before it, in their order. A session counts as the same place if more of
its footprints coincide with those of other sessions than in the same session turned over, which is aligned in exactly
the same way and so tells what the search finds by chance; and if its cross-correlation stands out as well, or the
footprints alone are beyond doubt. Sessions that fit no earlier one start a group of their own; the largest group is the
field of view that is tracked.
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rsc2p_kedro.algorithms.evaluation.description import radii
from rsc2p_kedro.algorithms.tracking.images import channels_of
from rsc2p_kedro.algorithms.tracking.placement import Placement, within
from rsc2p_kedro.algorithms.tracking.refinement import refine
from rsc2p_kedro.algorithms.tracking.rigid import NULL_ROTATIONS_DEG, STRETCHES, RigidFit, find_rigid
from rsc2p_kedro.algorithms.tracking.sampling import sample, sampling_matrix
from rsc2p_kedro.core.tracking import FieldOfView, SessionAlignment

Float = NDArray[np.float32]
NODE_DISTANCE_RADII = 8.0
"""Distance of the nodes of the deformation in radii of a neuron. Chosen, not tuned."""
COINCIDENT = (0.6, 0.7)
"""Cosine similarities from which two footprints coincide, seldom reached by different neurons that overlap. The lower
one is for noisy outlines; what counts is the one with more evidence."""
CLEAR_SIGNIFICANCE = 1.4
"""Cross-correlation relative to that of mirrored sessions from which it stands out. Of 20 pairs of different simulated
fields the highest was 1.23; of pairs of the same field with half of the neurons exchanged, the lowest in frames of 256
px was 1.8."""
LEAST_EVIDENCE, SUFFICIENT_EVIDENCE = 3.0, 5.0
"""Standard deviations by which coincident footprints must exceed chance, with and without a clear cross-correlation."""
CLEAR_AGREEMENT = 0.6
"""Correlation of the aligned mean or correlation images, as local contrast, from which they show the same place. Of 40
pairs of different or mirrored simulated fields the highest was 0.40."""
FEW, FEW_SIGNIFICANCE, FEW_SHARE = 20, 2.0, 0.2
"""With fewer components than this, counting cannot decide: then a share of coincident ones is enough if the images
agree, or the cross-correlation is twice that of mirrored sessions."""
ENOUGH = 150
"""Number of components from which one mirrored session tells what coincides by chance; fewer are mirrored along both
axes. Chosen, not tuned."""
_N_RECENT = 3
"""Number of the last sessions, beside the first, whose footprints a session is compared with."""
_MAX_GROUPS = 4
"""Number of groups that a session is compared with."""


@dataclass(eq=False)
class Group:
    """Sessions that show the same place.

    Attributes:
        members: positions of the sessions.
        placements: of each of them in the reference, the first member.
        total: (3, H, W), sum of their aligned channels.
        weight: (H, W), number of sessions that show each pixel.
        footprints: of the first member and of the last ones, aligned.
    """

    members: list[int]
    placements: list[Placement]
    total: NDArray[np.float64]
    weight: NDArray[np.float64]
    footprints: list[sp.csc_array] = field(default_factory=list)

    @property
    def mean(self) -> Float:
        """(3, H, W), mean of the aligned channels."""
        return (self.total / np.maximum(self.weight, 1)).astype(np.float32)

    def mean_without(self, channels: Float, placement: Placement) -> Float:
        """Mean of the aligned channels of all but one of the sessions.

        Args:
            channels: (3, h, w) of this session.
            placement: of this session.

        Returns:
            (3, H, W); 0 where no other session sees the field.
        """
        places = placement.places()
        inside = within(places, channels.shape[1:])
        own = inside * sample(channels, places)
        return ((self.total - own) / np.maximum(self.weight - inside, 1)).astype(np.float32)

    def add(self, position: int, placement: Placement, channels: Float, footprints: sp.csc_array) -> None:
        """Adds a session.

        Args:
            position: of the session.
            placement: of the session in the reference.
            channels: (3, h, w) of the session.
            footprints: of the session, aligned.
        """
        places = placement.places()
        inside = within(places, channels.shape[1:])
        self.total += inside * sample(channels, places)
        self.weight += inside
        self.members.append(position)
        self.placements.append(placement)
        self.footprints = [self.footprints[0], *self.footprints[1:][-(_N_RECENT - 1) :], footprints]


@dataclass(frozen=True, eq=False)
class Fit:
    """How one session fits a group.

    Attributes:
        placement: of the session in the reference of the group.
        rigid: result of the search.
        footprints: of the session, aligned.
        share: share of coincident footprints.
        chance: the same of mirrored sessions.
        evidence: by how many standard deviations it is above chance.
        n: number of components in the common field of view.
        agreement: highest magnitude of the correlations of the aligned images.
    """

    placement: Placement
    rigid: RigidFit
    footprints: sp.csc_array
    share: float
    chance: float
    evidence: float
    n: int
    agreement: float

    @property
    def same_place(self) -> bool:
        """Whether the session shows the place of the group."""
        agree = self.agreement >= CLEAR_AGREEMENT
        if self.n < FEW and self.share >= FEW_SHARE and (agree or self.rigid.significance >= FEW_SIGNIFICANCE):
            return True
        clear = agree or self.rigid.significance >= CLEAR_SIGNIFICANCE
        return self.evidence >= (LEAST_EVIDENCE if clear else SUFFICIENT_EVIDENCE)

    @property
    def reason(self) -> str:
        """Why it does not; empty if it does."""
        if self.same_place:
            return ""
        return (
            f"shows another place: {100 * self.share:.0f} % of its components coincide with those of other sessions, "
            f"{100 * self.chance:.0f} % of a mirrored session do"
        )


def neuron_radius(fields: list[FieldOfView]) -> float:
    """Radius of a neuron: the median over all components.

    Args:
        fields: sessions.

    Returns:
        In px, at least 1.5; 5 without any component.
    """
    all_radii = [radii(field_of_view.footprints) for field_of_view in fields if field_of_view.n_components]
    return max(float(np.median(np.concatenate(all_radii))), 1.5) if all_radii else 5.0


class Aligner:
    """Aligns sessions one after the other."""

    def __init__(self, fields: list[FieldOfView]) -> None:
        """Prepares the channels of all sessions.

        Args:
            fields: sessions of one animal and plane, in their order.
        """
        self.fields = fields
        self.radius = [neuron_radius([field_of_view]) for field_of_view in fields]
        self.channels = [channels_of(one, radius, radius / 3) for one, radius in zip(fields, self.radius, strict=True)]

    def start(self, position: int) -> Group:
        """A group of one session.

        Args:
            position: of the session.

        Returns:
            The group, with this session as its reference.
        """
        shape = self.fields[position].shape
        middle = (np.array(shape, float) - 1) / 2
        footprints = self.fields[position].footprints
        channels = self.channels[position].astype(float)
        return Group([position], [Placement.similarity(shape, middle)], channels, np.ones(shape), [footprints])

    def fit(self, position: int, group: Group) -> Fit:
        """Aligns a session with a group.

        Args:
            position: of the session.
            group: the group.

        Returns:
            The best placement, and how good it is.
        """
        first, own = group.members[0], self.channels[position]
        step, ratios = max(1, round(self.radius[first] / 1.5)), self.pixel_ratios(first, position)
        target = group.mean
        fit = self._judge(position, group, find_rigid(target, own, step=step, pixel_ratios=ratios))
        if fit.same_place or fit.rigid.significance >= CLEAR_SIGNIFICANCE:
            return fit
        stretched = [(ratios[0][0] * y, ratios[0][1] * x) for y in STRETCHES for x in STRETCHES]
        rigid = find_rigid(
            target, own, step=step, pixel_ratios=stretched, rotations_deg=NULL_ROTATIONS_DEG, scales=(1.0,)
        )
        wider = self._judge(position, group, rigid) if rigid.significance >= CLEAR_SIGNIFICANCE else fit
        return wider if wider.same_place else fit

    def _judge(self, position: int, group: Group, rigid: RigidFit) -> Fit:
        """Refines a fit, and compares the footprints with those of mirrored sessions."""
        session, own = self.fields[position], self.channels[position]
        target, first = group.mean, group.members[0]
        placement = self._refine(rigid.placement, target, own, first)
        moved, coincident, n = self._coincidences(placement, session, group)
        turns = ((1,), (2,)) if n < ENOUGH else ((1,),)
        chance = [self._by_chance(position, group, target, rigid.placement, axes) for axes in turns]
        expected = np.sum([c for c, _ in chance], axis=0) / max(sum(m for _, m in chance), 1)
        evidence = (coincident - expected * n) / np.sqrt(expected * n + 1)
        best = int(evidence.argmax())
        share = coincident[best] / max(n, 1)
        agreement = max(abs(value) for value in _correlations(own, target, placement)[0][1:])
        return Fit(placement, rigid, moved, float(share), float(expected[best]), float(evidence[best]), n, agreement)

    def _by_chance(
        self, position: int, group: Group, target: Float, like: Placement, axes: tuple[int, ...]
    ) -> tuple[NDArray[np.int64], int]:
        """Coincident footprints, and footprints within the common field, of the session turned over."""
        session, own = self.fields[position], np.ascontiguousarray(np.flip(self.channels[position], axes))
        y, x = (float(np.hypot(a, b)) for a, b in like.matrix)
        step = max(1, round(self.radius[group.members[0]] / 1.5))
        placement = find_rigid(target, own, step=step, pixel_ratios=[(y, x)], judge=False).placement
        placement = self._refine(placement, target, own, group.members[0])
        pixels = np.arange(session.shape[0] * session.shape[1]).reshape(session.shape)
        turned = np.flip(pixels, tuple(axis - 1 for axis in axes)).ravel()
        footprints = sp.csc_array(sp.csr_array(session.footprints)[turned])
        _, coincident, n = self._coincidences(placement, session, group, footprints)
        return coincident, n

    def _refine(self, placement: Placement, target: Float, own: Float, first: int) -> Placement:
        radius = self.radius[first]
        return refine(
            placement,
            target,
            own,
            step=max(1, round(radius / 3)),
            node_distance_px=NODE_DISTANCE_RADII * radius,
            smoothing_px=radius / 3,
        )

    def _coincidences(
        self, placement: Placement, session: FieldOfView, group: Group, footprints: sp.csc_array | None = None
    ) -> tuple[sp.csc_array, NDArray[np.int64], int]:
        """Aligned footprints, how many coincide with the group's by each limit, and how many are in common view."""
        given = session.footprints if footprints is None else footprints
        moved = sp.csc_array(sampling_matrix(placement.places(), session.shape) @ given)
        inside = share_inside(moved, given, placement) > 0.5
        n = int(inside.sum())
        if n == 0:
            return moved, np.zeros(len(COINCIDENT), np.int64), 0
        own = unit_columns(moved[:, np.flatnonzero(inside)])
        best = np.zeros(n)
        for others in group.footprints:
            if others.shape[1]:
                best = np.maximum(best, (unit_columns(others).T @ own).max(axis=0).toarray().ravel())
        return moved, np.array([(best > limit).sum() for limit in COINCIDENT], np.int64), n

    def pixel_ratios(self, first: int, position: int) -> list[tuple[float, float]]:
        """Pixels of a session per pixel of the reference.

        Args:
            first: position of the reference.
            position: of the session.

        Returns:
            Ratios along y and x: one by the pixel sizes, or possible ones where they are unknown, first (1, 1).
        """
        reference, session = self.fields[first], self.fields[position]
        if reference.pixel_size_um is not None and session.pixel_size_um is not None:
            ratio = np.divide(reference.pixel_size_um, session.pixel_size_um)
            return [(float(ratio[0]), float(ratio[1]))]
        by_frame = np.divide(session.shape, reference.shape)
        by_radius = self.radius[position] / self.radius[first]
        possible = [(1.0, 1.0)]
        if not 0.8 < by_radius < 1.25:
            possible += [(by_radius * f, by_radius * f) for f in (0.9, 1.0, 1.1)]
        if abs(by_frame[0] - by_frame[1]) < 0.05 and not 0.95 < by_frame[0] < 1.05:
            possible.append((float(by_frame[0]), float(by_frame[1])))
        return possible


def unit_columns(matrix: sp.csc_array) -> sp.csc_array:
    """Columns of unit L2 norm.

    Args:
        matrix: CSC (pixels, N).

    Returns:
        CSC (pixels, N); empty columns stay empty.
    """
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel())
    return sp.csc_array(matrix @ sp.diags_array(np.divide(1.0, norms, out=np.zeros(len(norms)), where=norms > 0)))


def share_inside(moved: sp.csc_array, given: sp.csc_array, placement: Placement) -> NDArray[np.float64]:
    """Share of each footprint that lies within the reference.

    Args:
        moved: aligned footprints (H*W, N).
        given: footprints (h*w, N) in the session.
        placement: of the session.

    Returns:
        (N,), about 0 to 1.
    """
    magnification = 1 / abs(np.linalg.det(placement.matrix))
    before = np.asarray(given.sum(axis=0)).ravel() * magnification
    after = np.asarray(moved.sum(axis=0)).ravel()
    return np.divide(after, before, out=np.zeros(len(before)), where=before > 0)


@dataclass(frozen=True, eq=False)
class AlignedSessions:
    """Result of the alignment.

    Attributes:
        members: positions of the sessions that show the same place, the reference first.
        placements: of each of them in the reference.
        reports: of all sessions, in their order.
    """

    members: list[int]
    placements: list[Placement]
    reports: list[SessionAlignment]


def align(fields: list[FieldOfView]) -> AlignedSessions:
    """Aligns all sessions of one animal and plane.

    Args:
        fields: the sessions, in their order; at least one.

    Returns:
        The sessions that show the same place, and where.
    """
    aligner = Aligner(fields)
    groups: list[Group] = []
    fits: dict[int, Fit] = {}
    for position in range(len(fields)):
        for group in groups[:_MAX_GROUPS]:
            fits[position] = fit = aligner.fit(position, group)
            if fit.same_place:
                group.add(position, fit.placement, aligner.channels[position], fit.footprints)
                break
        else:
            groups.append(aligner.start(position))
    largest = max(groups, key=lambda group: len(group.members))
    for position in range(len(fields)):  # the mean of all sessions is better than that of the first ones
        if position not in largest.members:
            fits[position] = fit = aligner.fit(position, largest)
            if fit.same_place:
                largest.add(position, fit.placement, aligner.channels[position], fit.footprints)
    reports = [report(aligner, position, largest, fits.get(position)) for position in range(len(fields))]
    return AlignedSessions(largest.members, largest.placements, reports)


def report(aligner: Aligner, position: int, group: Group, fit: Fit | None) -> SessionAlignment:
    """Describes how a session was aligned.

    Args:
        aligner: channels of the sessions.
        position: of the session.
        group: the sessions that show the same place.
        fit: of the session; None for the reference.

    Returns:
        The description.
    """
    aligned = position in group.members
    own = aligner.channels[position]
    placement = group.placements[group.members.index(position)] if aligned else None
    if placement is None:
        placement = fit.placement if fit is not None else Placement.similarity(group.total.shape[1:], np.zeros(2))
    reference = Placement.similarity(placement.shape, (np.array(own.shape[1:]) - 1) / 2)
    others = group.mean_without(own, placement) if aligned else group.mean
    linear, scale, deformation = _linear_part(placement)
    before, region_before = _correlations(own, others, reference)
    after, region_after = _correlations(own, others, placement)
    only = fit is None or position == group.members[0]
    shift = np.linalg.solve(linear, (np.array(own.shape[1:]) - 1) / 2 - placement.offset - _mean_field(placement))
    return SessionAlignment(
        session=aligner.fields[position].session,
        aligned=aligned,
        reason="" if aligned or fit is None else fit.reason,
        shift_px=(float(shift[0]), float(shift[1])),
        rotation_deg=float(-np.rad2deg(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))),
        scale=scale / float(np.sqrt(np.prod(aligner.pixel_ratios(group.members[0], position)[0]))),
        deformation_px=deformation,
        correlation_before=before,
        correlation_after=after,
        region_before=region_before,
        region_after=region_after,
        significance=np.inf if only or fit is None else fit.rigid.significance,
        overlap_share=1.0 if only or fit is None else fit.share,
        overlap_by_chance=0.0 if only or fit is None else fit.chance,
    )


def _mean_field(placement: Placement) -> NDArray[np.float64]:
    """Deviation (y, x) at the centre of the reference."""
    middle = placement.places()[:, placement.shape[0] // 2, placement.shape[1] // 2]
    plain = placement.matrix @ (np.array([placement.shape[0] // 2, placement.shape[1] // 2]) - placement.centre)
    return middle - plain - placement.offset


def _linear_part(placement: Placement) -> tuple[NDArray[np.float64], float, float]:
    """Linear part of a placement, its magnification, and the root mean square of what it does not explain in px."""
    places = placement.places(step=8).reshape(2, -1)
    y, x = (axis.ravel() for axis in np.mgrid[: placement.shape[0] : 8, : placement.shape[1] : 8].astype(float))
    design = np.stack([y - placement.centre[0], x - placement.centre[1], np.ones(len(y))], axis=1)
    solution, *_ = np.linalg.lstsq(design, places.T, rcond=None)
    rest = places.T - design @ solution
    linear = solution[:2].T
    return linear, float(np.sqrt(abs(np.linalg.det(linear)))), float(np.sqrt(np.mean(rest**2) * 2))


def _correlations(
    own: Float, others: Float, placement: Placement
) -> tuple[tuple[float, float, float], NDArray[np.float64]]:
    """Correlation of each channel over the common field, and the largest magnitude of the three in each ninth."""
    places = placement.places()
    inside = within(places, own.shape[1:])
    moved = sample(own, places)
    whole = [_correlation(a, b, inside) for a, b in zip(moved, others, strict=True)]
    ninths = np.full((3, 3), np.nan)
    rows, columns = (np.minimum(3 * np.arange(size) // size, 2) for size in inside.shape)
    for i in range(3):
        for j in range(3):
            part = inside & (rows == i)[:, None] & (columns == j)[None]
            if part.sum() >= 64:
                ninths[i, j] = max(abs(_correlation(a, b, part)) for a, b in zip(moved, others, strict=True))
    return (whole[0], whole[1], whole[2]), ninths


def _correlation(a: NDArray, b: NDArray, inside: NDArray[np.bool_]) -> float:
    """Pearson correlation of two images over a part of them; 0 where one is constant."""
    x, y = a[inside].astype(float), b[inside].astype(float)
    if len(x) < 2 or not (x.std() > 0 and y.std() > 0):
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])
