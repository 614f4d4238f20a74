"""Names for the author of a source.

`merge` runs any object that satisfies `Source`. A `Poller` is one that calls your coroutine at an interval.
docs/sources.md has examples.
"""

from energy_core.clock import VendorClock as VendorClock
from energy_core.stream.poll import Poller as Poller
from energy_core.stream.polled import LookbackConfig as LookbackConfig
from energy_core.stream.polled import Polled as Polled
from energy_core.stream.polled import PolledReading as PolledReading
from energy_core.stream.polled import SiteReport as SiteReport
from energy_core.stream.source import Backfillable as Backfillable
from energy_core.stream.source import CompleteRange as CompleteRange
from energy_core.stream.source import HistoryConfig as HistoryConfig
from energy_core.stream.source import HistoryItem as HistoryItem
from energy_core.stream.source import Identifiable as Identifiable
from energy_core.stream.source import Noting as Noting
from energy_core.stream.source import OpenAlarm as OpenAlarm
from energy_core.stream.source import Outlet as Outlet
from energy_core.stream.source import Passive as Passive
from energy_core.stream.source import Reading as Reading
from energy_core.stream.source import RecordedQuantities as RecordedQuantities
from energy_core.stream.source import ReportedAlarm as ReportedAlarm
from energy_core.stream.source import Restartable as Restartable
from energy_core.stream.source import Resumable as Resumable
from energy_core.stream.source import Source as Source
from energy_core.stream.source import StreamPosition as StreamPosition
from energy_core.stream.source import UnreadableRow as UnreadableRow
from energy_core.token_expiry import TokenExpiry as TokenExpiry
