"""The gap engine: each known pitfall as a script, a plain model for any script, and seeded mistakes."""

from __future__ import annotations

import functools
import random
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy_core.stream import gap_engine

A, B, C, D = 1, 2, 4, 8
ALL = A | B | C | D


# --- scripts -----------------------------------------------------------------------------------------------


class Script:
    """An engine and what it delivered: live "5a", backfilled "+5a", late "~5a", reported "[1,4] reason"."""

    def __init__(self, module: Any, **config: Any) -> None:
        self.config = module.GapConfig(**config)
        self.module = module
        self.engine = module.GapEngine(self.config)
        self.items: list[tuple[str, Any]] = []

    def take(self) -> None:
        while (item := self.engine.pop()) is not None:
            if hasattr(item, "reason"):
                text = f"[{item.start},{item.end}] {item.reason}"
            else:
                letters = "".join("abcd"[bit] for bit in range(4) if item.units >> bit & 1)
                text = f"{'~' * item.late}{'+' * item.backfilled}{item.item}{letters}"
            self.items.append((text, item.position))

    def live(self, second: int, units: int = A, *, now: float | None = None, room: bool = True) -> None:
        self.engine.live(second, units, second, second if now is None else now, room=room)
        self.take()

    def lost(self, now: float) -> None:
        self.engine.lost(now)
        self.take()

    def ask(self, now: float) -> tuple[int, int] | None:
        request = self.engine.next_request(now)
        self.take()
        return request

    def rows(self, *rows: tuple[int, int] | int | None) -> None:
        """Give rows: a second (with A), a second and units, or None for an unreadable one."""
        for row in rows:
            if row is None:
                self.engine.unreadable()
            else:
                second, units = row if isinstance(row, tuple) else (row, A)
                self.engine.row(second, units, second)
            self.take()

    def end(self, now: float, error: str | None = None, *, final: bool = False) -> None:
        self.engine.answered(now, error, final=final)
        self.take()

    def answer(self, now: float, *rows: tuple[int, int] | int | None) -> tuple[int, int] | None:
        request = self.ask(now)
        assert request is not None
        self.rows(*rows)
        self.end(now)
        return request

    def kill(self, after: str, now: float) -> None:
        """Continue with a new engine behind the item."""
        point = next(point for text, point in self.items if text == after)
        del self.items[next(at for at, each in enumerate(self.items) if each[0] == after) + 1 :]
        self.engine = self.module.GapEngine(self.config)
        self.engine.resume(point, now)
        self.take()

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self.items]

    @property
    def gaps(self) -> list[tuple[int, int | None, str]]:
        return [(gap.start, gap.end, gap.state.value) for gap in self.engine.gaps]

    def missing(self, second: int) -> bool:
        return any(gap.covers(second) for gap in self.engine.gaps)


SCRIPTS: list[Callable[[Any], None]] = []


def script(test: Callable[[Any], None]) -> Callable[[Any], None]:
    SCRIPTS.append(test)
    return test


@script
def position_stays_behind_now(module: Any) -> None:
    """An event dated ahead moves the position to now only, also past the fast path."""
    it = Script(module)
    it.live(0)
    it.live(5, now=1)
    it.lost(2)
    it.live(6)
    assert it.gaps == [(1, 6, "holding")]
    other = Script(module)
    other.live(0)
    assert other.engine.passes([1, 2], A, 2)
    assert not other.engine.passes([9], A, 3)


@script
def gap_ends_at_now_when_the_next_event_is_dated_ahead(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(200, now=1)
    it.live(2)
    assert it.gaps == [(0, 1, "holding")]


@script
def first_row_leaves_its_second(module: Any) -> None:
    """Two rows of one second: the first does not prove the second."""
    it = Script(module)
    it.live(1)
    it.lost(1)
    it.live(3)
    it.answer(5, (1, A), (1, B), 3)
    assert it.texts == ["1a", "+1b", "3a"]
    assert it.engine.calm


@script
def live_event_does_not_prove_its_own_second(module: Any) -> None:
    it = Script(module)
    it.live(1)
    it.lost(1)
    it.live(1, B)
    assert it.gaps == [(1, 1, "holding")]
    assert it.answer(2, (1, ALL)) == (1, 1)
    assert it.texts == ["1a", "+1cd", "1b"]


@script
def wrong_date_proves_nothing(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(10)
    it.answer(12, 1, 9, 2, 3)
    assert it.texts == ["0a", "+1a", "+2a", "+3a"]
    assert it.gaps == [(1, 1, "pending"), (2, 2, "pending"), (4, 10, "holding")]
    assert it.engine.ignored == 1


@script
def error_drops_the_row_kept_back(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(10)
    it.ask(12)
    it.rows(1, 3)
    it.end(12, "cut")
    assert it.texts == ["0a", "+1a"]
    assert it.gaps == [(1, 1, "holding"), (2, 10, "holding")]


@script
def unreadable_row_does_not_release_the_row_before_it(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(10)
    it.answer(12, 1, 3, None, 2)
    assert it.texts == ["0a", "+1a", "+2a"]
    assert it.missing(2)
    assert it.missing(3)


@script
def resume_point_has_the_seconds_beside_an_unreadable_row(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(10)
    it.ask(12)
    it.rows(1, None, 3, 4)
    it.kill("+3a", 12)
    assert it.missing(2)
    it.live(13)
    it.answer(15, 1, 2, 3, 4, 10, 13)
    assert it.texts == ["0a", "+1a", "+3a", "~+2a", "+4a", "+10a", "13a"]


@script
def rows_of_a_chunk_prove_nothing_of_the_chunk_before(module: Any) -> None:
    it = Script(module, chunk_s=5)
    it.live(0)
    it.lost(0)
    it.live(10)
    assert it.answer(12) == (0, 4)
    assert it.answer(12, 6, 9) == (5, 9)
    assert it.gaps == [(0, 4, "pending"), (10, 10, "holding")]


@script
def lacking_units_are_reported_after_a_kill(module: Any) -> None:
    """A kill in the middle of an answer without a column does not lose the report, in either run."""
    it = Script(module)
    it.live(0, A | B)
    it.lost(0)
    it.live(10, A | B)
    it.ask(12)
    it.engine.columns(A)
    it.rows(3, 6, 8)
    it.kill("+6a", 12)
    assert it.texts == ["0ab", "+3a", "+6a", "[0,3] not_exported"]
    it.live(13, A)
    it.ask(15)
    it.engine.columns(A)
    it.rows(6, 10, 13)
    it.end(15)
    assert it.texts[-3:] == ["+10a", "13a", "[4,13] not_exported"]


@script
def lacking_units_that_come_live_behind_their_row_end_the_range(module: Any) -> None:
    """Also at the end of what is proven so far, where the next range would be joined."""
    it = Script(module)
    it.live(0, A | B)
    it.lost(0)
    it.ask(10)
    it.engine.columns(A)
    it.rows(2, 4, 5)
    it.live(4, B, now=10)
    it.rows(6, 8)
    it.live(10, A | B)
    it.end(12)
    assert [text for text in it.texts if "[" in text] == ["[0,4] not_exported", "[4,8] not_exported"]


@script
def live_event_behind_its_row_does_not_pass(module: Any) -> None:
    """It may have nothing that its row had not: the slow path finds out."""
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(5, B)
    it.answer(7, 1, 5)
    assert it.engine.calm
    assert not it.engine.passes([5], A, 7)
    it.live(5, A, now=7)
    assert it.texts == ["0a", "+1a", "+5a", "5b"]


@script
def newest_and_its_units_outlive_a_kill(module: Any) -> None:
    it = Script(module)
    it.live(10)
    it.live(12, B, now=10)
    it.kill("12b", 11)
    it.live(13)
    it.answer(15, (11, A), (12, A | B), (13, A))
    assert it.texts == ["10a", "12b", "~+11a", "+12a", "13a"]


@script
def discarded_events_stay_missing_after_an_older_live_event(module: Any) -> None:
    it = Script(module, discards=True, hold=2)
    it.live(0)
    it.live(3, room=False)
    it.engine.relief(3)
    for second in (5, 6, 7):
        it.live(second)
    it.live(6, B, now=7)
    it.live(38)
    assert it.engine.held == (6, 38)
    assert all(it.missing(second) for second in (0, 3, 5, 6, 7))


@script
def only_the_gap_before_the_first_held_event_grows(module: Any) -> None:
    it = Script(module, discards=True, hold=2)
    it.live(0)
    it.lost(0)
    it.live(3)
    it.lost(3)
    it.live(5)
    it.answer(6, 0, 1, 2, 3)
    assert it.texts == ["0a", "+1a", "+2a", "3a"]
    it.live(6)
    it.live(7)
    assert it.gaps == [(4, 7, "holding")]
    it.answer(9, 4, 5, 6, 7)
    assert it.texts == ["0a", "+1a", "+2a", "3a", "+4a", "+5a", "+6a", "+7a"]


@script
def discarded_event_dated_ahead_extends_the_gap_to_the_position(module: Any) -> None:
    """Not to now: the next gap begins at the position, and one second would lie in two gaps."""
    it = Script(module, discards=True, hold=2)
    it.live(0)
    it.lost(0)
    it.live(3)
    it.live(70, now=4)
    it.live(2, B, now=9)
    assert it.texts == ["0a", "[70,70] slow_consumer"]
    assert it.gaps == [(0, 4, "holding")]
    it.lost(9)
    it.live(12)
    it.answer(14, 0, (2, B), 3, 4)
    it.answer(14, 4, 8, 12)
    assert it.texts[2:] == ["+2b", "+3a", "+4a", "+8a", "12a"]
    assert it.engine.calm


@script
def discarded_older_events_do_not_shorten_the_gap(module: Any) -> None:
    it = Script(module, discards=True, hold=2)
    it.live(0)
    it.lost(0)
    it.live(9)
    for second in (5, 6, 7, 8):
        it.live(second, B, now=9)
        it.live(second, C, now=9)
    assert it.gaps == [(0, 9, "holding")]


@script
def refused_older_event_is_reported_alone(module: Any) -> None:
    it = Script(module, discards=True)
    it.live(5)
    it.live(4, now=5, room=False)
    assert it.texts == ["5a", "[4,4] slow_consumer"]
    it.live(6, room=False)
    it.live(4, B, now=6, room=False)
    assert it.gaps == [(5, 6, "waiting")]
    assert it.texts[2:] == ["[4,4] slow_consumer"]


@script
def several_wrong_dates_make_the_seconds_missing_again(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(10)
    it.answer(12, 1, 6, 6, 4, 5)
    assert it.missing(3)
    assert it.missing(2)
    it.answer(12, 6, 7, 10)
    it.answer(80, 1, 3, 4)
    assert it.texts == ["0a", "+1a", "+6a", "~+4a", "~+5a", "+7a", "10a", "~+3a"]


@script
def lacking_units_are_reported_when_no_wrong_date_can_show(module: Any) -> None:
    """What wrong dates settled is missing again, so that nothing is reported of it before."""
    it = Script(module)
    it.live(0, A | B)
    it.live(6, A | B, now=2)
    it.lost(2)
    it.live(10, A | B)
    it.ask(12)
    it.engine.columns(A)
    it.rows(2, 3, 8, 8, 5)
    assert not [text for text in it.texts if "[" in text]
    it.end(12, "cut")
    assert it.texts[-1] == "[2,2] not_exported"
    it.answer(12, *((second, ALL) for second in range(3, 8)))
    it.answer(12, (8, ALL), (10, ALL))
    assert it.texts[6:11] == ["~+3bcd", "~+4abcd", "~+5abcd", "~+6cd", "~+7abcd"]
    assert it.texts[11:] == ["+8bcd", "+10cd", "10ab"]
    assert it.engine.calm


@script
def live_units_outlive_wrong_dates(module: Any) -> None:
    """The first second of a request is missing again, but not what came live in it."""
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(10)
    it.ask(12)
    it.rows(3, 3, 2)
    it.end(12, "cut")
    assert it.missing(0)
    it.answer(80, 3, 10)
    it.answer(80, (0, A | B), 1, 2)
    assert it.texts == ["0a", "+3a", "10a", "~+0b", "~+1a", "~+2a"]


@script
def what_wrong_dates_settled_comes_late_behind_released_events(module: Any) -> None:
    """A full hold was delivered meanwhile: the gap that opens again holds nothing back."""
    it = Script(module, hold=2)
    it.live(0)
    it.lost(0)
    it.live(5)
    it.ask(7)
    it.rows(1, 2)
    it.live(6)
    it.live(7)
    it.end(7, "cut")
    assert it.gaps == [(1, 1, "pending"), (2, 5, "pending")]
    it.kill("7a", 8)
    assert it.missing(2)
    it.live(9)
    it.answer(11, 7, 8, 9)
    it.answer(80, 1, 2, 4, 5)
    assert it.texts == ["0a", "+1a", "5a", "6a", "7a", "+8a", "9a", "~+2a", "~+4a"]


@script
def torn_second_stays_torn(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(3)
    it.answer(5, (1, A), None, (1, C), (1, D), 2, 3)
    assert it.gaps == [(1, 1, "pending")]


@script
def refused_event_dated_ahead_is_reported_alone(module: Any) -> None:
    it = Script(module, discards=True)
    it.live(1)
    it.live(200, now=2, room=False)
    it.live(3, room=False)
    it.live(300, now=3, room=False)
    assert it.texts == ["1a", "[200,200] slow_consumer", "[300,300] slow_consumer"]
    assert it.gaps == [(2, 3, "waiting")]
    it.lost(4)
    assert [gap[:2] for gap in it.gaps] == [(2, 3), (3, None)]


@script
def linked_event_leaves_the_second_of_the_position(module: Any) -> None:
    it = Script(module, discards=True)
    it.live(5)
    it.live(5, B, room=False)
    it.engine.relief(5)
    it.live(6)
    assert it.gaps == [(5, 5, "holding")]
    it.answer(7, (5, A | B))
    assert it.texts == ["5a", "+5b", "6a"]


@script
def calm_engine_remembers_the_units_of_its_position(module: Any) -> None:
    it = Script(module)
    it.live(4)
    assert it.engine.passes([5], A, 5)
    it.engine.relief(5)
    assert it.engine.passes([5], B, 5)
    it.lost(5)
    it.live(6)
    it.answer(8, (5, ALL), 6)
    assert it.texts == ["4a", "+5cd", "6a"]


@script
def answer_proves_nothing_of_a_gap_opened_after_its_request(module: Any) -> None:
    it = Script(module, settle_s=0)
    it.live(0)
    it.lost(0)
    it.live(5)
    it.ask(5)
    it.lost(5)
    it.rows(3, 5)
    it.end(5)
    assert it.gaps == [(5, None, "open")]


@script
def answer_proves_nothing_of_discarded_events(module: Any) -> None:
    """The record may have been read before a held event of the same second was written."""
    it = Script(module, discards=True, hold=1, settle_s=0)
    it.live(5)
    it.live(8, room=False)
    it.engine.relief(8)
    it.ask(8)
    it.live(8, B)
    it.live(9)
    assert it.gaps == [(5, 9, "holding")]
    it.rows(7, 8)
    it.end(9)
    assert it.missing(8)
    it.answer(10, (8, A | B), 9)
    assert it.texts == ["5a", "+7a", "+8a", "+8b", "+9a"]


@script
def answer_proves_nothing_of_refused_events(module: Any) -> None:
    """A refused event of a second that an answer is about stays missing."""
    it = Script(module, discards=True)
    it.live(5)
    it.lost(5)
    assert it.ask(10.5) == (5, 9)
    it.live(9, B, now=10.5, room=False)
    it.rows(5, 9)
    it.end(10.5)
    assert it.missing(9)


@script
def row_outside_the_request_breaks_the_order_in_the_middle_only(module: Any) -> None:
    it = Script(module)
    it.live(10)
    it.lost(10)
    it.live(20)
    it.answer(22, 1, 2, 12, 900, 14, 3, 16, 20, 21)
    assert it.texts[:5] == ["10a", "+12a", "+14a", "+16a", "20a"]
    assert it.missing(13)
    assert it.missing(15)
    assert not it.missing(11)
    assert not it.missing(18)
    assert it.engine.ignored == 5


@script
def retries_come_after_1_5_and_15_minutes(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(10)
    it.answer(12)
    assert it.texts == ["0a", "10a"]
    for due in (72.0, 312.0, 912.0):
        assert it.engine.due() == due
        assert it.ask(due - 1) is None
        it.answer(due)
    assert it.texts == ["0a", "10a", "[0,10] not_recorded"]
    assert it.engine.calm


@script
def kills_do_not_postpone_a_report(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(10)
    it.answer(12)
    it.kill("10a", 300)
    assert it.engine.due() == 72
    assert it.answer(300) == (10, 299)
    assert it.answer(300) == (0, 10)
    it.live(301)
    it.answer(303, 10, 301)
    assert it.engine.due() == 312
    it.answer(312)
    it.answer(912)
    assert "[0,9] not_recorded" in it.texts


@script
def open_gap_is_asked_again_every_minute_and_never_reported(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    for minute in range(30):
        assert it.ask(60 * minute + 1) is not None
        assert it.ask(60 * minute + 2) is None
        it.end(60 * minute + 1, "refused", final=True)
    assert it.gaps == [(0, None, "open")]
    it.answer(1900, 1, 2, 1800)
    assert it.gaps == [(1801, None, "open")]
    assert it.engine.due() == 1900
    it.answer(1900)
    assert it.engine.due() == 1960


@script
def events_of_one_second_with_the_same_units_are_held(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(3)
    it.live(3, A | B)
    it.live(3)
    it.answer(5, 1, (3, ALL))
    assert it.texts == ["0a", "+1a", "+3cd", "3a", "3ab", "3a"]
    assert it.engine.calm


@script
def full_hold_of_a_source_is_delivered(module: Any) -> None:
    it = Script(module, hold=2)
    it.live(0)
    it.lost(0)
    for second in (5, 6, 7):
        it.live(second)
    assert it.texts == ["0a", "5a", "6a", "7a"]
    it.answer(8, 3, 5)
    assert it.texts[4:] == ["~+3a"]
    assert it.engine.calm


@script
def order_is_kept_while_a_gap_is_filled(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(4)
    it.lost(4)
    it.live(8)
    it.answer(10, 0, 2, 4)
    it.answer(10, 4, 6, 8)
    assert it.texts == ["0a", "+2a", "4a", "+6a", "8a"]
    assert it.engine.calm


@script
def at_most_four_gaps_are_pending(module: Any) -> None:
    it = Script(module)
    it.live(0)
    for turn in range(6):
        it.lost(10 * turn)
        it.live(10 * turn + 10)
        it.answer(10 * turn + 12, 10 * turn, 10 * turn + 3, None, 10 * turn + 10)
    assert len(it.gaps) == 4
    assert [text for text in it.texts if "[" in text] == ["[3,9] too_many_gaps", "[13,19] too_many_gaps"]


@script
def older_part_of_a_long_gap_is_reported(module: Any) -> None:
    it = Script(module, max_gap_s=100)
    it.live(0)
    it.lost(0)
    it.live(300)
    assert it.ask(302) == (200, 300)
    assert it.texts == ["0a", "[0,199] beyond_cap"]


@script
def final_refusal_is_reported(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(5)
    it.ask(7)
    it.rows(3, 4)
    it.end(7, "permission", final=True)
    assert it.texts == ["0a", "+3a", "[3,3] permission", "[4,5] permission", "5a"]
    assert it.engine.calm


@script
def end_of_the_source_reports_and_delivers_all(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(5)
    it.engine.end("closed")
    it.take()
    assert it.texts == ["0a", "[0,5] closed", "5a"]
    assert it.engine.calm


@script
def unordered_row_proves_its_own_second(module: Any) -> None:
    it = Script(module, ordered=False)
    it.live(0)
    it.lost(0)
    it.live(5)
    it.answer(7, 3, 5)
    assert it.texts == ["0a", "+3a", "5a"]
    assert it.gaps == [(0, 2, "pending"), (4, 4, "pending")]


@script
def look_back_brings_settled_seconds_and_counts_no_attempt(module: Any) -> None:
    """What is new in it is delivered late, also in a pending gap, which keeps its tries."""
    it = Script(module, ordered=False)
    for second in (0, 2, 4):
        it.live(second)
    it.lost(4)
    it.live(9)
    it.answer(11)
    assert it.gaps == [(4, 9, "pending")]
    it.engine.look_back(0, 9, 20)
    it.rows((1, B), (6, B))
    it.engine.proven(7, 9)
    it.end(20)
    assert it.texts == ["0a", "2a", "4a", "9a", "~+1b", "~+6b"]
    assert it.gaps == [(4, 5, "pending")]
    assert [gap.tries for gap in it.engine.gaps] == [1]


@script
def proven_ranges_close_a_gap_behind_its_rows(module: Any) -> None:
    it = Script(module, ordered=False)
    it.live(0)
    it.lost(0)
    it.live(5)
    it.ask(7)
    for start, end in ((0, 1), (3, 5)):
        it.engine.proven(start, end)
    it.rows(2)
    it.end(7)
    assert it.texts == ["0a", "+2a", "5a"]
    assert it.engine.calm


@script
def range_without_more_rows_has_the_last_row(module: Any) -> None:
    """Also of an ordered record, whose last row is kept back."""
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(9)
    it.ask(11)
    it.rows(2, 4)
    it.engine.proven(0, 6)
    it.take()
    it.rows(7)
    it.engine.proven(8, 9, "coarse")
    it.end(11)
    assert it.texts == ["0a", "+2a", "+4a", "+7a", "[8,9] coarse", "9a"]
    assert it.engine.calm


@script
def open_gaps_are_given_up_and_pending_ones_stay(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(5)
    it.answer(7)
    for second in (7, 9):
        it.lost(second)
        it.live(second + 2)
    it.engine.end("full", pending=False)
    it.take()
    assert it.texts == ["0a", "5a", "[5,9] full", "9a", "[9,11] full", "11a"]
    assert it.gaps == [(0, 5, "pending")]


@script
def same_wrong_answer_is_not_asked_for_without_end(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(0)
    it.live(10)
    for _ in range(20):
        if it.ask(12) is None:
            break
        it.rows(1, 6, 6, 2)
        it.end(12, "cut")
    assert it.ask(12) is None


@script
def gap_is_not_asked_for_in_two_parts_of_which_one_may_be_empty(module: Any) -> None:
    """A device with a value every two seconds has none in the last second but one."""
    it = Script(module, discards=True)
    it.live(0)
    it.live(4, room=False)
    it.engine.relief(4.9)
    assert it.ask(4.95) is None
    it.answer(5, 0, 2, 4)
    assert it.texts == ["0a", "+2a", "+4a"]
    assert it.engine.calm


@script
def seconds_that_are_not_over_are_not_asked_for(module: Any) -> None:
    it = Script(module)
    it.live(0)
    it.lost(5)
    assert it.ask(5.5) == (0, 4)
    it.end(5.5)
    subscriber = Script(module, discards=True)
    subscriber.live(0)
    subscriber.live(5, room=False)
    subscriber.engine.relief(5.4)
    assert subscriber.ask(5.5) is None
    assert subscriber.engine.due() == 6
    assert subscriber.ask(6) == (0, 5)


@pytest.mark.parametrize("test", SCRIPTS, ids=lambda test: test.__name__)
def test_script(test):
    """Each interleaving that broke an engine once."""
    test(gap_engine)


# --- the model ---------------------------------------------------------------------------------------------


class World:
    """A vendor, its record, a link, an engine and its consumer; and the truth about all of them."""

    def __init__(self, module: Any = gap_engine, *, subscriber: bool, by_id: bool, hold: int = 8) -> None:
        self.module = module
        self.config = module.GapConfig(hold=hold, discards=subscriber)
        self.subscriber = subscriber
        self.by_id = by_id
        self.hold = hold
        self.now = 1000.0
        self.up = True
        self.truth: dict[int, int] = {}
        self.left: dict[int, int] = {}
        """Units that are neither delivered nor reported."""
        self.unnoticed: dict[int, int] = {}
        self.loose: dict[int, int] = {}
        """Live units older than the one before, or dated ahead: a kill may lose them."""
        self.record: list[tuple[int, int]] = []
        self.latest = 0
        self.behind = self.lacks = 0
        self.engine = module.GapEngine(self.config)
        self.answer: list[tuple[int, int] | None] = []
        self.asked: tuple[int, int] | None = None
        self.dated = False
        self.buffer: list[Any] = []
        self.consumed: list[Any] = []
        self.doubtful: list[Any] = []
        """Items delivered between a wrong date and the row that shows it; a kill there loses what it hid."""
        self.delivered: dict[int, int] = {}
        self.reported: list[Any] = []
        self.newest = -1
        self.queue: list[tuple[int, int]] | None = None
        """Live events that the link has not delivered yet, if it lags behind the record."""
        self.counts: dict[int, int] = {}
        """Number of delivered items of each second."""
        self.linked = True
        """Whether an event on time arrived since the link came up: the first is never out of order."""
        self.emit(0, ALL)
        self.pump()

    # --- the vendor ----------------------------------------------------------------------------------------

    def emit(self, ahead: int, units: int) -> None:
        second = int(self.now) + ahead
        units &= ~(self.truth.get(second, 0) | self.delivered.get(second, 0))
        if not units:
            return
        self.truth[second] = self.truth.get(second, 0) | units
        self.left[second] = self.left.get(second, 0) | units
        at = len(self.record)
        while at and self.record[at - 1][0] > second:
            at -= 1
        if not self.by_id and at and self.record[at - 1][0] == second:
            self.record[at - 1] = (second, self.record[at - 1][1] | units)
        else:
            self.record.insert(at, (second, units))
        if not self.up:
            self.unnoticed[second] = self.unnoticed.get(second, 0) | units
        elif self.queue is not None:
            self.unnoticed[second] = self.unnoticed.get(second, 0) | units
            self.queue.append((second, units))
        else:
            self.receive(second, units)

    def receive(self, second: int, units: int) -> None:
        ahead = second - int(self.now)
        self.linked |= ahead <= 0
        if ahead > 0 or second < self.latest:
            self.loose[second] = self.loose.get(second, 0) | units
        self.latest = max(self.latest, min(second, int(self.now)))
        room = not self.subscriber or len(self.buffer) < 6
        if room and self.engine.passes([second], units, self.now):
            point, counted = self.engine.point(), self.counts.get(second, 0)
            assert {each: events for each, _, events in point.units}.get(second) == counted + 1
            self.arrived(self.module.Delivery((second, units), False, False, units, point, counted))
        else:
            self.engine.live(second, units, (second, units), self.now, room=room)

    def early(self, ahead: int, units: int) -> None:
        if self.up and self.queue is None:  # what was dated ahead and lost cannot be noticed
            self.emit(1 + ahead % 154, units)

    def out_of_order(self, _: int, units: int) -> None:
        if self.up and self.linked and self.queue is None:
            self.emit(-1, units)

    def next_second(self, seconds: int, units: int) -> None:
        self.now += (0.5, 1, 2, 3)[seconds % 4]
        self.emit(0, units)

    def same_second(self, _: int, units: int) -> None:
        self.emit(0, units)

    def burst(self, count: int, units: int) -> None:
        for _ in range(2 + count % 11):
            self.now += 1
            self.emit(0, units)
            self.pump()

    def advance(self, seconds: int, _: int) -> None:
        self.now += (1, 2, 3, 5, 61, 301, 901)[seconds % 7]

    # --- the link ------------------------------------------------------------------------------------------

    def drop(self, *_: int) -> None:
        self.up = self.linked = False
        self.queue = None

    def lag(self, *_: int) -> None:
        if self.up and self.queue is None:
            self.queue = []

    def catch_up(self, *_: int) -> None:
        queue, self.queue = self.queue, None
        for second, units in queue or ():
            self.settled(self.unnoticed, second, units)
            self.receive(second, units)
            self.pump()

    def outage_and_lag(self, count: int, units: int) -> None:
        """The link comes up and lags: the record is read before its first event arrives."""
        self.drop()
        self.notice()
        self.up = True
        self.lag()
        for _ in range(1 + count % 4):
            self.now += 1
            self.emit(0, units)
            self.emit(0, ALL)
        self.now += 2
        self.ask()
        if count % 8:
            self.finish()

    def notice(self, *_: int) -> None:
        if not self.up:
            self.engine.lost(self.now)
            self.unnoticed.clear()

    def reconnect(self, *_: int) -> None:
        self.notice()
        self.up = True

    def outage(self, count: int, units: int) -> None:
        self.drop()
        for _ in range(1 + count % 8):
            self.now += 1
            self.emit(0, units)
        self.reconnect()
        self.now += count % 2
        self.emit(0, ALL)

    def outage_and_ask(self, count: int, units: int) -> None:
        self.outage(count, units)
        self.now += 2
        self.pump()
        self.ask()

    # --- the record ----------------------------------------------------------------------------------------

    def ask(self, *_: int) -> None:
        if self.asked is not None or (request := self.engine.next_request(self.now)) is None:
            return
        self.asked, self.dated = request, False
        exported = ALL & ~self.lacks
        if self.lacks:
            self.engine.columns(exported)
        self.answer = [
            (second, units & exported)
            for second, units in self.record
            if request.start <= second <= min(request.end, self.now - self.behind) and units & exported
        ]

    def rows(self, count: int, _: int = 0) -> None:
        for row in self.answer[:count]:
            if row is None:
                self.engine.unreadable()
            else:
                self.engine.row(row[0], row[1], row)
            self.pump()
            if not self.dated:  # until a later row shows it, a wrong date may hide a loss
                self.check()
        del self.answer[:count]

    def some_rows(self, count: int, _: int) -> None:
        self.rows(1 + count % 5)

    def finish(self, *_: int) -> None:
        self.rows(len(self.answer))
        if self.asked is not None:
            self.asked = None
            self.engine.answered(self.now)

    def fail(self, kind: int, _: int) -> None:
        if self.asked is not None:
            self.asked, self.answer = None, []
            self.engine.answered(self.now, "error", final=kind % 16 == 0)

    def spoil(self, kind: int, seed: int) -> None:  # noqa: C901
        if self.asked is None or not self.answer or self.dated:
            return
        answer, place = self.answer, seed % len(self.answer)
        row = answer[place]
        later = [at for at in range(place + 1, len(answer)) if answer[at] is not None and row is not None]
        later = [at for at in later if answer[at][0] > row[0]]  # type: ignore[index]
        kind %= 8
        if kind == 0:
            answer[place] = None
        elif kind == 1:
            answer.insert(place, None)
        elif kind == 2:
            answer.insert(place, row)
        elif kind == 3:
            answer.insert(0, (self.asked[0] - 5000, A))
            answer.append((self.asked[1] + 5000, A))
        elif kind == 4:
            del answer[place:]
            self.rows(len(answer))
            self.fail(1, 0)
        elif kind == 5 and later:  # a page ends between two seconds
            del answer[later[0] :]
        elif kind == 6 and later and row is not None:  # one row dated wrongly
            self.dated = True
            ahead = answer[later[0]][0] + 1 + seed % 40  # type: ignore[index]
            answer[place] = (ahead, row[1])
        elif kind == 7 and place and later and later[0] == place + 1 and row is not None:
            self.dated = True
            if seed % 3 == 0:  # dated outside the request
                inside = answer[place - 1] is not None and answer[place - 1][0] >= self.asked[0]  # type: ignore[index]
                answer[place] = (
                    self.asked[0] - 5000 if inside and seed % 2 else self.asked[1] + 5000,
                    row[1],
                )
            elif len(later) > 1 and later[1] == place + 2:  # two rows dated wrongly
                ahead = answer[place + 2][0] + 1  # type: ignore[index]
                if ahead <= self.asked[1]:
                    answer[place] = (ahead, row[1])
                    answer[place + 1] = (ahead, answer[place + 1][1])  # type: ignore[index]
                    before = len(self.buffer)
                    self.rows(place + 2)
                    self.doubtful += self.buffer[before:]
                    self.rows(1)

    def set_behind(self, seconds: int, _: int) -> None:
        self.behind = (0, 0, 1, 3, 27)[seconds % 5]

    def set_lacks(self, _: int, units: int) -> None:
        self.lacks = 0 if self.by_id or units in {ALL, A, B} else units

    # --- the consumer --------------------------------------------------------------------------------------

    def take(self, count: int, _: int) -> None:
        count = 1 if count % 2 else 6
        self.consumed += self.buffer[:count]
        del self.buffer[:count]

    def pump(self) -> None:
        while (item := self.engine.pop()) is not None:
            self.arrived(item)
        if self.subscriber and len(self.buffer) <= 3:
            self.engine.relief(self.now)

    def arrived(self, item: Any) -> None:
        self.buffer.append(item)
        self.count(item)

    def count(self, item: Any) -> None:
        if hasattr(item, "reason"):
            self.reported.append(item)
            mask = item.units or ALL
            for second, units in self.delivered.items():
                inside = item.start < second < item.end and units & mask
                assert not inside, f"delivered {second}, and reported: {item}"
            for second in [each for each in self.left if item.start <= each <= item.end]:
                self.settled(self.left, second, mask)
            return
        second, units = item.item[0], item.units
        assert not self.delivered.get(second, 0) & units, f"delivered twice: {second} {units}"
        for each in self.reported if item.backfilled else ():
            inside = each.start < second < each.end and units & (each.units or ALL)
            assert not inside, f"reported, and delivered: {each} {second}"
        self.delivered[second] = self.delivered.get(second, 0) | units
        self.settled(self.left, second, units)
        assert item.late == (second < self.newest), "late is wrong"
        counted = self.counts.get(second, 0)
        known = item.ordinal < 1000
        assert known or (item.late and not item.backfilled)
        assert not known or item.ordinal == counted, f"{second} is event {counted}, not {item.ordinal}"
        self.counts[second] = max(counted, item.ordinal) + 1
        self.newest = max(self.newest, second)

    @staticmethod
    def settled(units: dict[int, int], second: int, mask: int) -> None:
        if second in units:
            units[second] &= ~mask
            if not units[second]:
                del units[second]

    def kill(self, back: int, _: int) -> None:
        if not self.consumed:
            return
        del self.consumed[max(1, len(self.consumed) - back % 4) :]
        while len(self.consumed) > 1 and any(self.consumed[-1] is each for each in self.doubtful):
            del self.consumed[-1]
        self.buffer.clear()
        self.answer, self.asked, self.linked, self.queue = [], None, False, None
        self.engine = self.module.GapEngine(self.config)
        self.engine.resume(self.consumed[-1].position, self.now)
        if self.up:
            self.unnoticed.clear()
        self.left, self.delivered, self.reported, self.newest = dict(self.truth), {}, [], -1
        self.counts = {}
        for item in self.consumed:
            self.count(item)
        for second, units in self.loose.items():
            self.settled(self.left, second, units)

    def kill_inside_an_answer(self, back: int, units: int) -> None:
        self.finish()
        self.pump()
        self.set_lacks(0, units)
        self.outage_and_ask(7, ALL)
        self.rows(2 + back % 3)
        self.take(0, 0)
        self.kill(back // 4, 0)

    # --- what must hold ------------------------------------------------------------------------------------

    def check(self) -> None:
        """Every unit is delivered once, reported, held, in a gap, or not noticed yet."""
        left = {second: units & ~self.unnoticed.get(second, 0) for second, units in self.left.items()}
        for second, units in self.engine.held:
            if second in left:
                left[second] &= ~units
        gaps = self.engine.gaps
        lacking = self.engine.lacking
        for second, units in left.items():
            for start, end, lack in lacking:
                units &= ~lack if start <= second <= end else -1  # noqa: PLW2901
            assert not units or any(gap.covers(second) for gap in gaps), f"lost: {second} {units}, {gaps}"
        assert len(self.engine.held) <= self.hold
        assert sum(gap.state.value == "pending" for gap in gaps) <= 4

    def heal(self) -> None:
        """The link is up and the record answers completely for 20 minutes: nothing is missing any more."""
        self.behind = self.lacks = 0
        self.fail(1, 0)
        self.pump()
        self.catch_up()
        self.reconnect()
        for _ in range(25):
            self.now += 61
            self.buffer.clear()
            self.pump()
            self.emit(0, A)
            self.now += 2
            for turn in range(100):
                self.pump()
                self.ask()
                if self.asked is None:
                    break
                self.finish()
                assert turn < 99, "asked without end"
            self.pump()
            self.buffer.clear()
        self.check()
        assert not self.engine.gaps
        assert not self.engine.held


STEPS: list[tuple[int, Callable[[World, int, int], None]]] = [
    (8, World.next_second),
    (2, World.same_second),
    (1, World.early),
    (1, World.out_of_order),
    (1, World.burst),
    (3, World.advance),
    (1, World.outage),
    (5, World.outage_and_ask),
    (1, World.drop),
    (1, World.lag),
    (2, World.catch_up),
    (2, World.outage_and_lag),
    (1, World.notice),
    (2, World.reconnect),
    (3, World.ask),
    (5, World.some_rows),
    (3, World.finish),
    (1, World.fail),
    (5, World.spoil),
    (1, World.set_behind),
    (1, World.set_lacks),
    (4, World.take),
    (1, World.kill),
    (2, World.kill_inside_an_answer),
]
TABLE = [step for weight, step in STEPS for _ in range(weight)]
LAST = len(TABLE) * ALL * 97 - 1


def run(world: World, numbers: Iterable[int]) -> None:
    """Do the steps that the numbers stand for, then heal."""
    for number in numbers:
        rest, step = divmod(number, len(TABLE))
        seed, units = divmod(rest, ALL)
        TABLE[step](world, seed, 1 + units)
        world.pump()
        if world.asked is None or not world.dated:
            world.check()
    world.heal()


VARIANTS = [
    pytest.param(
        subscriber, by_id, id=f"{'subscriber' if subscriber else 'source'} by {'id' if by_id else 'second'}"
    )
    for subscriber in (False, True)
    for by_id in (False, True)
]


@pytest.mark.parametrize(("subscriber", "by_id"), VARIANTS)
@given(numbers=st.lists(st.integers(0, LAST), min_size=5, max_size=60))
def test_every_unit_is_delivered_once_or_reported(subscriber, by_id, numbers):
    """For any events, outages, answers, full buffers and kills: truth = delivered once + reported."""
    run(World(subscriber=subscriber, by_id=by_id), numbers)


# --- seeded mistakes ---------------------------------------------------------------------------------------

MISTAKES = [
    ("the fast path takes events dated ahead", "        if last > now:\n            return False\n", ""),
    ("the position follows a wrong date", "reached = min(second, int(now))", "reached = second"),
    ("a row proves its own second", "whole=second > kept.second and not torn", "whole=True"),
    (
        "an unreadable row proves",
        "torn, self._broken, self._passed = self._broken or",
        "torn, _, _ = False and",
    ),
    (
        "a row is not kept back",
        "if kept is not None and error is None:",
        "if kept is not None:",
    ),
    (
        "only one wrong date is noticed",
        "found = second if self.rows else None",
        "found = None",
    ),
    (
        "the end of an answer proves",
        "        self._report_lacking()\n        start, end = answer.request",
        "        self._settle(*answer.request, answer)\n        start, end = answer.request",
    ),
    (
        "pending gaps are missing from the checkpoint",
        "if gap.start < second\n        )\n        lacking",
        "if False\n        )\n        lacking",
    ),
    (
        "the unreported lack is missing from the checkpoint",
        "self.newest, gaps, lacking)",
        "self.newest, gaps)",
    ),
    (
        "seen units are missing from the checkpoint",
        "return ResumePoint(second, units, self._seen",
        "return ResumePoint(second, units, 0",
    ),
    (
        "units are missing from the checkpoint",
        "return ResumePoint(second, units, self._seen",
        "return ResumePoint(second, (), self._seen",
    ),
    (
        "the newest second is missing from the checkpoint",
        "self._seen, self.newest, gaps",
        "self._seen, second, gaps",
    ),
    (
        "a held event is delivered twice",
        "return units & ~self.known(second)",
        "return units & ~self.delivered.get(second, 0)",
    ),
    (
        "rows of settled seconds are delivered",
        "if fresh and (answer.origin is None or self._gaps.covers(second)):",
        "if fresh:",
    ),
    ("a full hold shortens the gap", "max(gap.end or 0, *(min(", "max((min("),
    (
        "a full hold forgets",
        "gap.end = max(gap.end or 0, *(min(each.second, self.position) for each in held))",
        "gap.end = gap.end",
    ),
    (
        "a full hold is not bounded",
        "if len(self._held) > self._config.hold else 0",
        "if len(self._held) > 2 * self._config.hold else 0",
    ),
    (
        "an answer proves a gap opened after its request",
        "lambda each: each.number <= answer.number",
        "lambda each: True",
    ),
    ("an answer proves discarded events", "min(end, answer.limit)", "end"),
    (
        "what wrong dates settled holds events back",
        "state = answer.origin.state.closed if waits",
        "state = answer.origin.state.closed if True",
    ),
    (
        "wrong dates forget live units",
        "            self.deliver(second, units, events)",
        "            pass",
    ),
    (
        "a lack is reported before its answer ends",
        "while len(self._notes.lacking) > MAX_LACKING:",
        "while self._notes.lacking:",
    ),
    ("pending gaps are not bounded", "max(len(pending) - self._config.max_pending,", "max(0,"),
    ("a retry is reported too early", "last = len(self._config.retries_s)", "last = 1"),
    (
        "calm forgets the units of the position",
        "notes.delivered.pop(position, 0), notes.events",
        "0 * notes.delivered.pop(position, 0), notes.events",
    ),
    (
        "held events wait for the last gap only",
        "first is None or self._held[0].number < first):\n            second, units",
        "first is None or True):\n            second, units",
    ),
    ("the end of a chunk closes the gap", "self.add(evolve(gap, start=asked_to + 1, due=now))", "pass"),
    ("a range is reported whole", "for cut in self._notes.within(gap.start, end):", "for cut in ():"),
    (
        "a second is asked for before it is over",
        "settled = int(now - self._config.settle_s)",
        "settled = int(now)",
    ),
    (
        "a refused older event is lost",
        'self._report_range(second, second, "slow_consumer")\n        elif',
        "pass\n        elif",
    ),
    (
        "a live event is delivered again behind its row",
        "fresh = units & ~self._notes.recorded.get(second, 0)",
        "fresh = units",
    ),
    (
        "a live event passes behind its row",
        "elif second == last and not notes.recorded:",
        "elif second == last:",
    ),
    ("events of one second are not counted", "                events += 1\n", "                pass\n"),
    (
        "the number of events is missing from the checkpoint",
        "{second: events for second, _, events in point.units}",
        "{second: 0 for second, _, events in point.units}",
    ),
    (
        "what arrived live after all is reported as lacking",
        "            notes.cut_lacking(second, units)",
        "            pass",
    ),
]


MODULES = ("gap_list", "gap_notes", "gap_answer", "gap_engine")


@functools.cache
def seeded(old: str, new: str) -> Any:
    """Return the engine's module with one piece of the source of its modules exchanged."""
    folder = Path(gap_engine.__file__).parent
    sources = {name: (folder / f"{name}.py").read_text() for name in MODULES}
    found = sum(source.count(old) for source in sources.values())
    assert found == 1, f"{found} times in the source: {old}"
    for name, source in sources.items():
        module = types.ModuleType(f"seeded_{name}")
        sys.modules[module.__name__] = module
        text = source.replace(old, new).replace("from energy_core.stream.gap_", "from seeded_gap_")
        exec(compile(text, module.__name__, "exec"), vars(module))
    return sys.modules["seeded_gap_engine"]


def mistake_found(module: Any) -> str | None:
    """Return the first check that fails for the module, or None."""
    for test in SCRIPTS:
        try:
            test(module)
        except Exception:  # noqa: BLE001
            return test.__name__
    for seed in range(1500):
        chance = random.Random(seed)
        numbers = [chance.randint(0, LAST) for _ in range(chance.randint(5, 60))]
        try:
            run(World(module, subscriber=seed % 2 == 0, by_id=seed % 4 > 1), numbers)
        except Exception:  # noqa: BLE001
            return f"the model, script {seed}"
    return None


@pytest.mark.parametrize(("old", "new"), [each[1:] for each in MISTAKES], ids=[each[0] for each in MISTAKES])
def test_seeded_mistake_is_found(old, new):
    """The scripts or the model notice each of these mistakes in the engine."""
    assert mistake_found(seeded(old, new)) is not None
