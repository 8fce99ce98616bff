"""Trying again: what is lost may come back, and what is busy gets free."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..errors import DeviceBusy, EdgewrightError

T = TypeVar("T")

BUSY_POLL_S = 2.0


def while_lost(action: Callable[[], T], limit_s: float, on_lost: Callable[[], None]) -> T:
    """Does something again while it fails in a way that may pass, ever more slowly.

    Args:
        limit_s: after which its error is the caller's.
        on_lost: called before each new attempt.
    """
    from tenacity import (
        RetryCallState,
        Retrying,
        retry_if_exception,
        stop_after_delay,
        wait_exponential,
        wait_random,
    )

    def lost(state: RetryCallState) -> None:
        on_lost()

    return Retrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, EdgewrightError) and error.transient
        ),
        wait=wait_exponential(multiplier=0.5, max=8) + wait_random(0, 0.5),
        stop=stop_after_delay(limit_s),
        before_sleep=lost,
        reraise=True,
    )(action)


def while_busy(
    action: Callable[[], T], limit_s: float, on_busy: Callable[[BaseException], None]
) -> T:
    """Does something again while another measurement runs on the device.

    Args:
        limit_s: after which its error is the caller's; 0 for at once.
        on_busy: called once, with the error that says who measures.
    """
    from tenacity import (
        RetryCallState,
        Retrying,
        retry_if_exception_type,
        stop_after_delay,
        wait_fixed,
    )

    def waiting(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if state.attempt_number == 1 and error is not None:
            on_busy(error)

    return Retrying(
        retry=retry_if_exception_type(DeviceBusy),
        wait=wait_fixed(BUSY_POLL_S),
        stop=stop_after_delay(limit_s),
        before_sleep=waiting,
        reraise=True,
    )(action)
