"""Distinguishes the strokes of a pen from shadows, stains and areas; finds a thick digit that fills its picture."""

import numpy as np
from scipy import ndimage

from digits.preparation.paper import EIGHT, Grey, Mask, border, box_of, otsu, quantile

SHARP = 0.36  # smallest fraction of the ink's outline that is sharp, and does not fade like a shadow's
SHARP_AT_EDGE = 0.65  # the same for ink that reaches the picture's edge, as the light beside a shadow does
SOFTEST = 0.07  # of a digit's longer side: window in which the strength falls at a sharp outline; at least 5 pixels
FALL = 0.5  # fraction of its strength that a sharp outline loses in this window
FAINTEST_EDGE = 0.35  # of the usual strength: a fainter outline has to fall as much as this one
FLATTEST, LONG = 2.2, 0.8  # width over height, and of the picture's width: what is flatter and longer is a line
MOST_HOLES, SMALLEST_HOLE = 6, 0.004  # number, and fraction of the box; with more holes it is a grid
SMALLEST_DIGIT = 4  # pixels of the longer side
ALONG_EDGE = 0.5  # of its longer side: what lies longer along the picture's edge is a shadow

THICKEST = 0.5  # of the longer side of a picture that a digit fills; what is thicker is not a stroke
CLEAR, LESS_CLEAR = 0.12, 0.3  # variance within the two shades of a picture that a digit fills, over the whole variance
FILLED = (0.12, 0.8)  # fraction of such a picture that is ink
MIN_FILLING_CONTRAST = 42  # grey values of 255
MOST_EDGE = 0.35  # fraction of the picture's edge that such a digit touches
MOST_CONTACTS = 5  # times that it touches the edge
LONGEST_CORNER = 0.15  # of the edge: a longer contact at a corner is a shadow
FULLEST, SQUARE = 0.76, 0.6  # fraction of its box, and of the outline of the box, that a sheet of paper fills
SPECK = 0.03  # of the area of the largest piece


def are_strokes(strength: Grey, mask: Mask) -> bool:
    """Whether ink has the sharp outline of strokes, and is neither a grid, a level line nor a shadow.

    Args:
        strength: (height, width) float32, how far each pixel stands out from the paper.
        mask: (height, width) bool, the ink.
    """
    rows, columns = box_of(mask)
    inside = mask[rows, columns]
    height, width = inside.shape
    distance = max(5, round(SOFTEST * max(height, width))) | 1
    near = tuple(slice(max(part.start - distance, 0), part.stop + distance) for part in (rows, columns))
    strength, ink = strength[near], mask[near]
    outline = ink & ~ndimage.binary_erosion(ink, border_value=1)
    falls = strength - ndimage.minimum_filter(strength, distance)
    full = quantile(strength[ink], 0.6)
    at_edge = border(mask).sum()
    sharp = (falls[outline] > FALL * strength[outline].clip(FAINTEST_EDGE * full)).mean()
    if sharp <= (SHARP_AT_EDGE if at_edge else SHARP):
        return False
    is_line = width > max(FLATTEST * height, LONG * mask.shape[1])
    if max(height, width) < SMALLEST_DIGIT or is_line or at_edge > ALONG_EDGE * max(height, width):
        return False
    areas = np.bincount(ndimage.label(~np.pad(inside, 1))[0].ravel())[1:]
    return bool((areas > SMALLEST_HOLE * inside.size).sum() <= 1 + MOST_HOLES)  # the first area is outside


def filling(grey: Grey, spread: float = CLEAR) -> tuple[Grey, Mask] | None:
    """Find a digit in a thick pen that fills the picture and leaves little paper.

    Args:
        grey: (height, width) float32.
        spread: Largest variance within the two shades, as a fraction of the whole.

    Returns:
        How far each pixel stands out from the paper, and the ink; None if the picture may show something else.
    """
    bright = grey > otsu(grey)
    ink = bright if border(bright).mean() < 0.5 else ~bright
    inked, edge = float(ink.mean()), border(ink)
    if not FILLED[0] < inked < FILLED[1] or edge.mean() > MOST_EDGE:
        return None
    paper, full = float(np.median(grey[~ink])), float(np.median(grey[ink]))
    within = float(grey[ink].var() * inked + grey[~ink].var() * (1 - inked))
    if within > spread * float(grey.var()) or abs(full - paper) < MIN_FILLING_CONTRAST:
        return None
    inside = ink[box_of(ink)]
    thickness = 2 * float(ndimage.distance_transform_edt(np.pad(inside, 1)).max())
    if thickness > THICKEST * max(grey.shape) or _is_shadow(edge, grey.shape) or _is_sheet(inside):
        return None
    strength: Grey = ((grey - np.float32(paper)) * np.float32(np.sign(full - paper))).clip(0, None)
    ink = strength > quantile(strength, 0.98) / 2
    pieces, _ = ndimage.label(ink, EIGHT)
    areas = np.bincount(pieces[ink])  # areas[0], that of the paper, is 0
    return strength, np.asarray((areas > SPECK * areas.max())[pieces])


def _is_shadow(edge: Mask, shape: tuple[int, ...]) -> bool:
    """Whether ink touches the picture's edge often, or lies around a corner."""
    turns = np.flatnonzero(edge != np.roll(edge, -1))  # the last place of each run
    if len(turns) > 2 * MOST_CONTACTS:
        return True
    height, width = shape
    corners = np.array([0, width - 1, width + height - 2, 2 * width + height - 3])
    if not len(turns):
        return False
    lengths = np.diff(turns, append=turns[0] + len(edge))  # of the runs after each turn
    run = np.searchsorted(turns, corners[edge[corners]]) - 1
    return bool((lengths[run] > LONGEST_CORNER * len(edge)).any())


def _is_sheet(inside: Mask) -> bool:
    """Whether ink, cut to its box, has the outline of a sheet of paper; a 1 is narrower."""
    if max(inside.shape) > 2 * min(inside.shape):
        return False
    return bool(inside.mean() > FULLEST or border(inside).mean() > SQUARE)
