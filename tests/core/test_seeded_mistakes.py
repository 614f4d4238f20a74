"""Seeded mistakes, each with the test that has to find it.

Each mistake is made in a copy of the code, where its test has to fail. A mistake whose text is no longer in
the code fails as well: it has to be seeded in the new text. `nox -s mistakes` runs them.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import frozen

ROOT = Path(__file__).parents[2]
PACKAGES = ("energy_core", "vrm_async", "voltstorage_async", "energy_live")


@frozen
class Mistake:
    file: str
    right: str
    wrong: str
    caught_by: str


MISTAKES = {
    "take a bucket for the whole gap": Mistake(
        "vrm_async/realtime_gaps.py",
        "self._engine.proven(first, last)",
        "self._engine.proven(*request)",
        "tests/vrm/test_realtime_source.py::test_a_broken_connection_is_filled_from_the_graph_in_order",
    ),
    "add up the phases that are left": Mistake(
        "vrm_async/realtime_values.py",
        "        if not self._lost.isdisjoint(parts):\n            return None\n",
        "",
        "tests/vrm/test_realtime_values.py::test_a_phase_that_becomes_null_makes_the_sum_missing_until_a_full_publish"
        "_says_that_it_is_gone",
    ),
    "ask a gateway for everything every half minute": Mistake(
        "vrm_async/realtime_site.py",
        "        full = full or self.state is not GatewayState.ALIVE\n",
        "        full = True\n",
        "tests/vrm/test_realtime_source.py::test_keepalives_are_sent_every_thirty_seconds_and_only_the_first_asks_for"
        "_everything",
    ),
    "take a lost connection for a refused login": Mistake(
        "vrm_async/realtime.py",
        "if isinstance(code, ReasonCode) and code.value in BAD_LOGIN:",
        "if code is not None:",
        "tests/vrm/test_realtime_link.py::test_a_lost_connection_is_not_taken_for_a_refused_login",
    ),
    "cut a message out of the middle of another": Mistake(
        "energy_core/stream/frames.py",
        "if self._fast_path and self._fragments is None and not self._header_fed:",
        "if self._fast_path and not self._header_fed:",
        "tests/core/test_frames.py::test_messages_are_those_of_websockets",
    ),
    "forget what an export lacks behind the present state": Mistake(
        "energy_core/stream/gap_filler.py",
        "if end is not None and end < self._covered_to:",
        "if end is not None and end < 0:",
        "tests/core/test_gap_filler.py::test_quantities_without_a_record_are_reported_beyond_the_latest_data",
    ),
    "reset the backoff on connect": Mistake(
        "energy_core/stream/reconnect.py",
        "        self._opened_at = now\n",
        "        self._opened_at = now\n        self._failures = 0\n",
        "tests/core/test_reconnect.py::test_only_a_healthy_connection_resets_the_failures",
    ),
    "lose values of the archive that VRM no longer sends": Mistake(
        "energy_live/archive/year_table.py",
        "rows.setdefault(time, {}).update(cells)",
        "rows[time] = dict(cells)",
        "tests/live/test_archive_sites.py::test_changed_and_withdrawn_values_are_reported",
    ),
    "reveal a server's text in diagnostics": Mistake(
        "energy_core/diagnostics.py",
        '"reason": _masked(one.reason),',
        '"reason": one.reason,',
        "tests/live/test_diagnostics.py::test_nothing_private_is_in_it",
    ),
    "let the slowest consumer hold up a source": Mistake(
        "energy_core/stream/fanout.py",
        "or any(buffer.has_room for buffer in buffers)",
        "or all(buffer.has_room for buffer in buffers)",
        "tests/core/test_policies.py::test_a_slow_subscriber_does_not_hold_up_a_poller",
    ),
    "swallow a cancellation": Mistake(
        "energy_core/stream/source_task.py",
        "        except AuthError as error:\n            return State.AUTH_FAILED, error\n",
        "        except asyncio.CancelledError:\n            return State.CLOSED, None\n"
        "        except AuthError as error:\n            return State.AUTH_FAILED, error\n",
        "tests/core/test_merge.py::test_a_source_that_cancels_itself_has_failed",
    ),
    "skip the backfill of what did not fit": Mistake(
        "energy_core/stream/refill.py",
        "if self._owner.history_config is None:",
        "if True:",
        "tests/core/test_policies.py::test_block_has_the_source_fetch_what_did_not_fit",
    ),
    "skip the backfill after a resume": Mistake(
        "energy_core/stream/source_task.py",
        "            resume(positions)\n",
        "            pass\n",
        "tests/core/test_checkpoint.py::test_a_resumed_stream_goes_on_where_its_consumer_stopped",
    ),
    "let new come before old while a hole is filled": Mistake(
        "energy_core/stream/subscriber.py",
        "        if sequence.refilling:\n",
        "        if sequence.refilling and not self.buffer.has_room:\n",
        "tests/core/test_policies.py::test_live_readings_are_held_during_a_refill",
    ),
    "lose a hole in silence": Mistake(
        "energy_core/stream/refill.py",
        "            self._report(Gap(start=start, end=end, reason=each.reason))\n",
        "            pass\n",
        "tests/core/test_policies.py::test_a_source_that_cannot_fetch_again_leaves_a_gap",
    ),
    "dedupe by value": Mistake(
        "energy_core/stream/subscriber.py",
        "sequence.recent_ids.add_all(readings)",
        "sequence.recent_ids.add_all([(0, repr(each[2])) for each in readings])",
        "tests/core/test_policies.py::test_backfilled_and_late_duplicates_are_dropped_and_live_ones_never",
    ),
    "dedupe what comes live": Mistake(
        "energy_core/stream/subscriber.py",
        "if (certain or sequence.dedupe_until is not None) and",
        "if True and",
        "tests/core/test_policies.py::test_backfilled_and_late_duplicates_are_dropped_and_live_ones_never",
    ),
    "take what came together for newer than all before": Mistake(
        "energy_core/stream/subscriber.py",
        "            and (newest is None or readings[0][0] > newest)\n",
        "",
        "tests/core/test_policies.py::test_backfilled_and_late_duplicates_are_dropped_and_live_ones_never",
    ),
    "hand over together what does not fit": Mistake(
        "energy_core/stream/buffer.py",
        "if len(readings) + len(events) >= self.capacity or self.ended:",
        "if self.ended:",
        "tests/core/test_policies.py::test_block_has_the_source_fetch_what_did_not_fit",
    ),
    "number behind the buffer": Mistake(
        "energy_core/stream/subscriber.py",
        "        sequence.seq += count\n        self.lost += count\n",
        "        self.lost += count\n",
        "tests/core/test_policies.py::test_block_has_the_source_fetch_what_did_not_fit",
    ),
    "announce every single drop": Mistake(
        "energy_core/stream/buffer.py",
        "        dropped = self._drop_oldest() if len(readings) >= self.capacity else None\n"
        "        readings.append(event)\n",
        "        dropped = self._drop_oldest() if len(readings) >= self.capacity else None\n"
        "        self._end_episode()\n        readings.append(event)\n",
        "tests/core/test_policies.py::test_drop_oldest_keeps_the_newest",
    ),
    "starve a key on a display": Mistake(
        "energy_core/stream/buffer.py",
        "            if lost is before:\n                self._readings[place] = event\n",
        "            if lost is before:\n                self._readings.remove(before)\n"
        "                self._readings.append(event)\n",
        "tests/core/test_policies.py::test_coalesce_latest_keeps_the_newest_of_each_key",
    ),
    "commit what was only handed out": Mistake(
        "energy_core/stream/commit.py",
        "        self._delivered[id(event)] = event\n",
        "        self._delivered[id(event)] = event\n        self._commit(None)\n",
        "tests/core/test_checkpoint.py::test_what_was_not_consumed_comes_again",
    ),
    "write the checkpoint in place": Mistake(
        "energy_core/atomic_file.py",
        "    temporary, file = _create_temporary(path)",
        "    path.write_bytes(b'')\n    temporary, file = _create_temporary(path)",
        "tests/core/test_checkpoint.py::test_a_save_that_fails_leaves_the_file_before_it",
    ),
    "let one failure end the stream": Mistake(
        "energy_core/stream/fanout.py",
        "if self._fail_fast and error is not None",
        "if error is not None",
        "tests/core/test_merge.py::test_an_error_ends_its_own_source_only",
    ),
    "compare the past with what was polled": Mistake(
        "energy_core/stream/lookback_match.py",
        "        changed = before is not None and before[0] != digest\n",
        "        changed = (before is not None and before[0] != digest) or (before is None and emitted)\n",
        "tests/core/test_lookback.py::test_rounding_by_the_vendor_is_not_a_revision",
    ),
    "use the wall clock in the bucket": Mistake(
        "energy_core/http/rate_limiter.py",
        "self._state.try_take(now())",
        "self._state.try_take(self._clock.utcnow().timestamp())",
        "tests/core/test_rate_limiter.py::test_slots_come_at_the_rate_after_the_burst",
    ),
    "log in once for every refusal": Mistake(
        "energy_core/http/credential.py",
        "if self._issued is not None and self._issued.generation != generation:",
        "if False:",
        "tests/core/test_credential.py::test_a_late_refusal_of_an_old_generation_changes_nothing",
    ),
    "forget to give back on cancel": Mistake(
        "energy_core/http/rate_limiter.py",
        "            self._take_back(waiter)\n        self._queue.discard(waiter)\n",
        "            pass\n        self._queue.discard(waiter)\n",
        "tests/core/test_rate_limiter.py::test_cancelling_a_waiter_costs_nothing",
    ),
    "try a bad certificate again": Mistake(
        "energy_core/http/retry_policy.py",
        '        return outcome.kind != "tls"\n',
        "        return True\n",
        "tests/faults/test_tls.py::test_bad_certificate_is_never_tried_again",
    ),
    "say what the library said": Mistake(
        "energy_core/http/response.py",
        'return TransportError("the answer is not valid HTTP")',
        "return TransportError(str(error))",
        "tests/faults/test_secrets.py::test_failures_show_no_secret",
    ),
    "keep everything for a consumer without room": Mistake(
        "energy_core/stream/gap_filler.py",
        "        if room:\n            return self._emit_live(",
        "        if True:\n            return self._emit_live(",
        "tests/voltstorage/test_volt_stream.py::test_the_reader_never_waits_for_the_consumer",
    ),
    "forget what was told of a second": Mistake(
        "energy_core/stream/dedupe.py",
        "        return bits & ~(known | known >> _QUANTITY_BITS) & _QUANTITY_MASK\n",
        "        return bits\n",
        "tests/voltstorage/test_volt_backfill.py::test_missed_data_is_backfilled_in_time_order",
    ),
    "take an event as consumed because the stream has ended": Mistake(
        "energy_core/stream/merge.py",
        "            self._closed = True\n            self._fanout.close()\n",
        "            self._closed = True\n            if self._commits is not None:\n"
        "                self._commits.autocommit()\n            self._fanout.close()\n",
        "tests/core/test_checkpoint.py::test_what_a_consumer_failed_on_comes_again_however_the_stream_ended",
    ),
    "end the stream while its only source restarts": Mistake(
        "energy_core/stream/supervisor.py",
        "self._fanout.source_started(new)  # already now",
        "pass  # already now",
        "tests/core/test_supervision.py::test_the_only_source_is_restarted_under_a_waiting_consumer",
    ),
    "follow redirects": Mistake(
        "energy_core/http/transport.py",
        "            allow_redirects=False,\n",
        "            allow_redirects=True,\n",
        "tests/faults/test_redirects.py",
    ),
    "let a published energy fall after a revision": Mistake(
        "energy_live/outputs/energy_counters.py",
        "max(sum_, before.get(each, 0))",
        "sum_",
        "tests/live/test_energy_counters.py::test_a_revision_downwards_is_held",
    ),
    "take a batch twice that was stored by a cancelled write": Mistake(
        "energy_live/outputs/energy_counters.py",
        "if text == self._position:",
        "if not text:",
        "tests/live/test_energy_counters.py::test_a_write_that_was_cancelled_counts_once",
    ),
    "refuse a whole batch of lines for one of them": Mistake(
        "energy_live/outputs/influx.py",
        "elif len(lines) > 1:",
        "elif not lines:",
        "tests/live/test_influx_output.py::test_a_batch_that_is_too_large_is_cut",
    ),
    "write a journal's rows twice after a kill": Mistake(
        "energy_live/outputs/parquet_files.py",
        'if taken.get("journal") == journal else 0',
        'if taken.get("journal") is None else 0',
        "tests/live/test_parquet_output.py::test_a_kill_while_files_are_written_doubles_nothing",
    ),
    "take any digit for a number": Mistake(
        "energy_core/retry_after.py",
        "if _SECONDS.fullmatch(text):",
        "if text.isdigit():",
        "tests/core/test_retry_after.py::test_an_invalid_header_counts_as_missing",
    ),
}


GOOD = Mistake("energy_core/stream/subscriber.py", "", "", "tests/core/test_policies.py")


def made(folder, mistake):
    """Make a mistake in a copy; return the exit code of pytest (0 passed, 1 failed) and its output."""
    copied = mistake.file.partition("/")[0]
    for name in {*PACKAGES, "tests", "docs", "pyproject.toml"} - {copied}:
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / copied, folder / copied, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / mistake.file
    right = file.read_text(encoding="utf-8")
    if mistake.right and right.count(mistake.right) != 1:
        return None, f"the place of this mistake is not in {mistake.file} any more"
    file.write_text(right.replace(mistake.right, mistake.wrong) if mistake.right else right, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-B", "-m", "pytest", "-x", "-q", "--no-header", mistake.caught_by],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "ENERGY_LIVE_EXAMPLES": "1000"},
        capture_output=True,
        timeout=60,
        check=False,
        encoding="utf-8",
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """The outcomes of all mistakes, which run in parallel."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        return {
            name: pool.submit(made, tmp_path_factory.mktemp("mistake"), mistake)
            for name, mistake in (MISTAKES | {"none": GOOD}).items()
        }


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_caught(outcomes, name):
    """The named test, which passes in the suite, fails with the mistake."""
    code, said = outcomes[name].result()
    assert code == 1, said


def test_without_a_mistake_nothing_is_caught(outcomes):
    """A copy without a mistake passes."""
    code, said = outcomes["none"].result()
    assert code == 0, said
