"""The page's files, and the headers that keep it to this server."""

from __future__ import annotations

from importlib.resources import files

PAGE = {
    "/": (("index.html",), "text/html"),
    "/dashboard.css": (("dashboard.css",), "text/css"),
    "/dashboard.js": (("dashboard.js", "charts.js", "chat.js"), "text/javascript"),
    "/markdown.js": (("markdown.js",), "text/javascript"),
    "/marked.js": (("vendor/marked.esm.js",), "text/javascript"),
    "/temml.js": (("vendor/temml.min.js", "export_temml.js"), "text/javascript"),
    "/temml.css": (("vendor/Temml-Local.css",), "text/css"),
    "/Temml.woff2": (("vendor/Temml.woff2",), "font/woff2"),
}
"""Each path, the files that are served as one there, and their media type. The gate asks for no key there."""

HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def read(path: str) -> bytes:
    """Returns what is served at a path of PAGE."""
    names, _ = PAGE[path]
    page = files("laser.server.dashboard") / "page"
    return b"\n".join((page / name).read_bytes() for name in names)
