"""Sends requests: client, pool, rate limiter, credential, retries, transport.

The names here are for the author of another client; docs/architecture.md has the modules.
"""

from typing import TYPE_CHECKING

from energy_core._lazy import lazy_exports

if TYPE_CHECKING:
    from energy_core.http.call import ServiceAccount as ServiceAccount
    from energy_core.http.client import ApiClient as ApiClient
    from energy_core.http.credential import Credential as Credential
    from energy_core.http.credential import Grant as Grant
    from energy_core.http.credential import Issued as Issued
    from energy_core.http.operation import Content as Content
    from energy_core.http.operation import Operation as Operation
    from energy_core.http.operation import Priority as Priority
    from energy_core.http.operation import Request as Request
    from energy_core.http.operation import Response as Response
    from energy_core.http.rate_limiter import RateLimiter as RateLimiter
    from energy_core.http.rate_limiter import RateLimiterStats as RateLimiterStats
    from energy_core.http.response import Download as Download
    from energy_core.http.token_bucket import SavedRateLimit as SavedRateLimit
    from energy_core.url import BaseUrl as BaseUrl
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "..url": "BaseUrl",
            ".call": "ServiceAccount",
            ".client": "ApiClient",
            ".credential": "Credential Grant Issued",
            ".operation": "Content Operation Priority Request Response",
            ".rate_limiter": "RateLimiter RateLimiterStats",
            ".response": "Download",
            ".token_bucket": "SavedRateLimit",
        },
    )
