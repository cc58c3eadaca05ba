"""The HTTP headers that this server reads and sends, besides those that HTTP itself needs."""

from __future__ import annotations

from enum import StrEnum


class RequestHeader(StrEnum):
    """A header that requests may have."""

    AUTHORIZATION = "authorization"  # `Bearer KEY`, where the server has keys
    API_KEY = "x-api-key"  # the key alone, as Anthropic's clients send it; read where there is no `authorization`
    REQUEST_ID = "x-request-id"  # name of the request for the log and the spans, which comes back; else one is made
    SLO_DEADLINE = (
        "x-slo-deadline-ms"  # time from arrival by which the reply is to be complete; the thought is cut in time
    )
    SLO_TTFT = "x-slo-ttft-ms"  # a request that would wait longer for its first token is turned away at once
    SLO_TPOT = "x-slo-tpot-ms"  # time for a further token; with x-slo-ttft-ms, a deadline of ttft + tpot × `max_tokens`


class ResponseHeader(StrEnum):
    """A header that responses may have."""

    REQUEST_ID = "x-request-id"  # name of the request, on every response
    IGNORED = "x-laser-ignored"  # names of up to 16 of the request's fields that were ignored; missing: none was
    RETRY_AFTER = "retry-after"  # whole seconds after which a refused request may be sent again
    RETRY_AFTER_MS = "retry-after-ms"  # the same in milliseconds, as OpenAI's clients read it
    SHOULD_RETRY = "x-should-retry"  # `false`: OpenAI's clients are not to send the request again
    AUTHENTICATE = "www-authenticate"  # `Bearer`, where a key is missing or unknown
    ACCEPT_ENCODING = "accept-encoding"  # `identity`, where a body was compressed
    CACHE_CONTROL = "cache-control"  # `no-cache`, on streams and the page
    BUFFERING = "x-accel-buffering"  # `no`, on streams: proxies are to pass events on at once
