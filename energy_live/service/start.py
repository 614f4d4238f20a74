"""Starts the service from the options of the command line."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from energy_core import run_service
from energy_core.errors import EnergyError
from energy_live.runner import USAGE, UsageError, faster_loop, print_error
from energy_live.service.config import OutputSettings, ServiceConfig, complete, load_config
from energy_live.service.secret_files import SecretEnvironment
from energy_live.service.service import GRACE_S, ServiceSetup, check, serve

_DEMO_INTERVAL_S: Final = 10.0


@frozen(kw_only=True)
class Options:
    """Options of `energy-live run`; None: not given."""

    file: str | None = None
    targets: tuple[str, ...] = ()
    sites: tuple[int, ...] = ()
    products: tuple[int, ...] = ()
    interval: float | None = None
    since: str | None = None
    cluster: str | None = None
    state: str | None = None
    health: str | None = None
    log_format: str | None = None

    def config(self) -> ServiceConfig:
        """Read the file, and put the options on top of it.

        Raises:
            UsageError: The file or an option is wrong.
        """
        config = ServiceConfig() if self.file is None else load_config(Path(self.file))
        for name in ("since", "state", "health", "log_format"):
            if (value := getattr(self, name)) is not None:
                config = evolve(config, **{name: value})
        vrm, volt = config.vrm, config.voltstorage
        if self.cluster is not None:
            config = evolve(config, cluster=evolve(config.cluster, url=self.cluster))
        if self.interval is not None:
            vrm = evolve(vrm, interval_s=self.interval)
        if self.sites or self.products:
            # As in the other commands: what is named is all that is read.
            vrm = evolve(vrm, sites=self.sites, enabled=bool(self.sites))
            volt = evolve(volt, products=self.products, enabled=bool(self.products))
        outputs = (*config.output, *(OutputSettings(to=address) for address in self.targets))
        return complete(evolve(config, vrm=vrm, voltstorage=volt, output=outputs), self.file or "options")


def start(options: Options, *, check_only: bool, demo: bool) -> int:
    """Run the service, or only check its settings; return the exit code."""
    try:
        if check_only:
            sys.stdout.write(asyncio.run(_check(options)) + "\n")
        elif demo:
            _run_demo(options)
        else:
            _run(partial(_serve(options.config()), ServiceSetup(load=options.config, environment=os.environ)))
    except UsageError as error:
        return print_error(error, USAGE)
    except EnergyError as error:
        return print_error(error)
    except OSError as error:
        return print_error(error.strerror or error)
    return 0


def _serve(config: ServiceConfig) -> Callable[[ServiceSetup], Coroutine[object, object, None]]:
    """Return what runs the service: alone, or as one host of a cluster."""
    if not config.cluster.url:
        return serve
    from energy_live.service.clustered import serve_clustered  # noqa: PLC0415  (imports nats)

    return serve_clustered


async def _check(options: Options) -> str:
    config = options.config()
    if config.cluster.url and config.cluster.collect:
        from energy_live.service.clustered import accounts_of  # noqa: PLC0415  (imports nats)

        accounts_of(config, SecretEnvironment(os.environ))
    return await check(ServiceSetup(load=options.config, environment=os.environ))


def _run(main: Callable[[], Coroutine[object, object, None]]) -> None:
    run_service(main, grace_s=GRACE_S, loop_factory=faster_loop())


def _run_demo(options: Options) -> None:
    with ExitStack() as stack:
        if options.state is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="energy-live-demo-"))
            options = evolve(options, state=folder)
        _run(partial(_demo, options, os.environ))


async def _demo(options: Options, environment: Mapping[str, str]) -> None:
    from energy_live.simulator import Simulator  # noqa: PLC0415

    if options.interval is None:
        options = evolve(options, interval=_DEMO_INTERVAL_S)
    async with Simulator() as simulator:
        variables = {**environment, **simulator.environment()}
        await serve(ServiceSetup(load=options.config, environment=variables))
