"""How much the unknown verdict of last steps could move the rates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from speedbench.acceptance._figures import Rates, conditional_rates
from speedbench.acceptance._steps import Steps
from speedbench.errors import TraceError


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Rates under three readings of the last token of ambiguous steps.

    `censored` is the estimate; the truth lies between the other two.
    """

    censored: Rates
    if_accepted: Rates
    if_rejected: Rates


def last_step_sensitivity(steps: Steps, ambiguous: NDArray[np.bool_]) -> Sensitivity:
    """Return the conditional rates with ambiguous steps censored, accepted and rejected.

    From chunks alone nobody can tell whether the last token of a response was an accepted draft or
    the verifier's own after a rejection.  Such a step of e tokens shows e - 1 accepted drafts; its
    verdict on position e is open.

    Parameters
    ----------
    steps : Steps
    ambiguous : (n,) array of bool
        The steps whose last token is of unknown origin.

    Examples
    --------
    One whole step of 3 accepted drafts, and a last one of 2 tokens:

    >>> import numpy as np
    >>> from speedbench.acceptance import Steps, last_step_sensitivity
    >>> steps = Steps.from_arrays([0, 0], [4, 2], drafted=[3, 3], accepted=[3, 1],
    ...                           truncated=[False, True])
    >>> found = last_step_sensitivity(steps, np.array([False, True]))
    >>> found.censored.values, found.if_accepted.values, found.if_rejected.values
    (array([1., 1., 1.]), array([1., 1., 1.]), array([1. , 0.5, 1. ]))
    """
    if ambiguous.shape != (len(steps),):
        raise TraceError(f"a mask of {ambiguous.shape} does not mark {len(steps)} steps")
    last = np.minimum(steps.emitted, steps.drafted)
    before = np.minimum(np.maximum(steps.emitted - 1, 0), steps.drafted)

    def read(accepted: NDArray[np.int32], observed: NDArray[np.int32]) -> Rates:
        return conditional_rates(
            replace(
                steps,
                accepted=np.where(ambiguous, accepted, steps.accepted).astype(np.int32),
                observed=np.where(ambiguous, observed, steps.observed).astype(np.int32),
            )
        )

    return Sensitivity(
        censored=read(before, before), if_accepted=read(last, last), if_rejected=read(before, last)
    )
