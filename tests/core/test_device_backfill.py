"""A polled device: for any polls, look-backs and stops, each log is delivered once, or it is reported."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from energy_core.local_days import EPOCH
from energy_core.stream.device_backfill import DeviceBackfill
from energy_core.stream.lookback_match import MissingRange
from energy_core.stream.polled import LookbackConfig, PolledReading
from energy_core.stream.source import StreamPosition
from energy_core.stream.vocabulary import Quantity, SourceId

SITE = SourceId("vrm", "home", "151734", 258)
CONFIG = LookbackConfig(max_held=4)
BEGIN = 30_000_000  # minutes since 1970


def at(minute):
    return EPOCH + timedelta(minutes=minute)


def log(minute, *, bucket=False):
    """A log of a minute, half a minute after the bucket in which the record has it."""
    return PolledReading(
        source=SITE,
        time=at(minute) if bucket else at(minute) + timedelta(seconds=30),
        id=f"bucket {minute}" if bucket else f"log {minute}",
        values={Quantity.PV_POWER: float(minute)},
        raw={},
        bucket_s=60.0 if bucket else 0.0,
    )


class World:
    """A device that logs each minute, what a consumer got of it, and what cannot be noticed."""

    def __init__(self, *, buckets):
        self.buckets = buckets
        self.now = self.minute = BEGIN
        self.device = DeviceBackfill(SITE, CONFIG, due=0.0)
        self.logged, self.polled, self.unnoticed = set(), set(), set()
        self.delivered, self.reported, self.last_polled = [], [], 0
        self.poll(3)

    def seconds(self):
        return 60.0 * (self.minute - BEGIN)

    def poll(self, count):
        """Poll some minutes, one after the other."""
        for _ in range(count):
            self.minute += 1
            self.logged.add(self.minute)
            usual = self.device._intervals.usual
            if usual != 60.0 and not (usual is None and self.device.open_gaps):  # what is skipped is unknown
                self.unnoticed |= self.logged - self.polled - {self.minute}
            self.device.add(log(self.minute), self.seconds())
            self.device.end_poll(1)
            self.polled.add(self.minute)
            self.take()

    def miss(self, count):
        """Log minutes that no poll sees."""
        self.logged |= set(range(self.minute + 1, self.minute + 1 + count))
        self.minute += count

    def wait(self, count):
        """Log nothing."""
        self.minute += count

    def look_back(self, kind, meanwhile, every):
        """Look back, while polls go on; the record may lack logs, or the vendor does not answer."""
        device = self.device
        ranges = device.begin()
        self.poll(meanwhile)
        known = [minute for minute in sorted(self.logged) if ranges[0][0] <= at(minute) < ranges[-1][1]]
        if kind % 2:
            known = [minute for minute in known if minute % every]
        if self.buckets:  # between two buckets, a single one that is missing is less than a skipped slot
            lone = {minute for minute in self.logged if {minute - 1, minute + 1} & set(known)} - set(known)
            self.unnoticed |= {
                minute for minute in lone if not {minute - 1, minute + 1} - self.polled - set(known)
            }
        found = [log(minute, bucket=self.buckets) for minute in known]
        if kind in {2, 3}:
            since = at(self.minute - every) if kind == 2 else ranges[0][0]
            before = [each for each in found if each.time < since]
            device.failed(before, since=since, reason="down", now=self.seconds())
        else:
            device.done(reversed(found), now=self.seconds())
        if device._intervals.usual != 60.0:  # less than its usual slot is missing
            self.unnoticed |= self.logged - set(known)
        self.take()

    def stop(self):
        """Stop, and continue behind the last delivered log."""
        last = max(
            (each for each in self.delivered if not isinstance(each, MissingRange)), key=lambda e: e.time
        )
        stopped = StreamPosition(time=last.time, seq=9, ids=(last.id,), pending=self.device.pending)
        # Logs that are older than the stop are not distinguished from delivered ones.
        self.unnoticed |= {
            m for m in self.logged if log(m).time <= last.time and not self.has(m)
        } - self.covered()
        self.device = DeviceBackfill(SITE, CONFIG, stopped, due=0.0)
        self.polled = {minute for minute in self.polled if log(minute).time <= last.time}
        self.last_polled = max(self.polled)
        self.take()

    def take(self):
        while self.device.has_ready():
            each = self.device.ready.popleft()
            if isinstance(each, MissingRange):
                self.reported.append(each)
                continue
            self.delivered.append(each)
            assert each.revision == 0
            if not each.backfilled:
                minute = self.minute_of(each)
                assert minute > self.last_polled, "polled logs are out of order"
                self.last_polled = minute
        minutes = [self.minute_of(each) for each in self.delivered]
        assert len(minutes) == len(set(minutes)), f"delivered twice: {sorted(minutes)}"

    @staticmethod
    def minute_of(each):
        return (each.time - EPOCH) // timedelta(minutes=1)

    def has(self, minute):
        return any(self.minute_of(each) == minute for each in self.delivered)

    def covered(self):
        """The minutes in gaps, reported or not."""
        gaps = [*self.reported, *self.device.pending, *self.device.open_gaps]
        return {minute for minute in self.logged for gap in gaps if gap[0] <= log(minute).time <= gap[1]}

    def check(self):
        held = {self.minute_of(each) for each in self.device._engine.held}
        newest = max(self.polled)
        lost = {m for m in self.logged if m <= newest and not self.has(m)} - held - self.unnoticed
        assert lost <= self.covered(), f"lost: {sorted(lost - self.covered())}"
        assert len(held) <= CONFIG.max_held
        assert len(self.device.pending) <= 8

    def heal(self):
        """Look-backs are complete for half an hour: everything is delivered, and nothing is missing."""
        for _ in range(20):
            self.poll(2)
            self.look_back(0, 0, 1)
        self.check()
        assert not self.device.open_gaps
        assert not self.device.pending
        assert self.device._engine.calm
        left = {minute for minute in self.logged if not self.has(minute)}
        assert left <= self.covered() | self.unnoticed


steps = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 6)), min_size=3, max_size=40)


def run(world, numbers):
    for step, kind, count in numbers:
        if step < 3:
            world.poll(1 + count)
        elif step < 5:
            world.miss(1 + count)
            world.poll(1)
        elif step == 5:
            world.wait(1 + 5 * count)
            world.poll(1)
        elif step == 6 and kind == 5:
            world.stop()
            world.poll(1)
        else:
            world.look_back(kind, count // 3, 2 + count)
        world.check()
    world.heal()


def test_a_look_back_that_fails_within_a_slot_hides_no_log():
    """What is shorter than a slot, beside the place where another look-back failed, is not complete."""
    run(World(buckets=False), [(3, 0, 2), (3, 0, 4), (8, 5, 0), (7, 2, 1), (2, 0, 0), (9, 1, 0)])


@given(st.booleans(), steps)
def test_every_log_is_delivered_once_or_reported(buckets, numbers):
    """Whatever polls miss and look-backs lack: each log is delivered once, held, in a gap, or reported."""
    run(World(buckets=buckets), numbers)
