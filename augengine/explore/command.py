"""`augengine explore`: its options, and the server until Ctrl-C."""

import argparse
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from augengine.explore.session import Session


def add_options(command: argparse.ArgumentParser) -> None:
    """Gives the command its options."""
    command.description = (
        "Serves a web page on this machine alone: choose transforms, move their sliders, see what they draw on "
        "photos, and copy the pipeline as Python or JSON. Ctrl-C ends it."
    )
    add = command.add_argument
    add("photos", nargs="*", type=Path, metavar="PHOTO", help="files or folders; of many, 12 from all over them "
        "(default: three drawn pictures)")  # fmt: skip
    add("--pipeline", type=Path, metavar="FILE.json", help="begin with what Pipeline.to_json() wrote")
    add("--port", type=int, help="of 127.0.0.1 (default: the first free one from 7860)")
    add("--no-browser", action="store_true", help="only print the address")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serves the page and returns 0 after Ctrl-C; raises what is to be told in a sentence."""
    from augengine.explore.drawn import drawn_photos
    from augengine.explore.page import Page, gradio
    from augengine.explore.photos import read_photos
    from augengine.explore.scene import PRESETS, preset
    from augengine.explore.session import Session

    if options.port is not None and not 0 < options.port < 2**16:
        raise ValueError(f"--port: got {options.port}; expected a port in [1, 65535]")
    session = Session(preset(next(iter(PRESETS))), read_photos(options.photos) or drawn_photos())
    if options.pipeline is not None:
        session = _opened(session, options.pipeline)
    print("Starting the page ...", file=sys.stderr, flush=True)
    gradio()
    page = Page(session)
    try:
        address = page.launch(options.port, not options.no_browser)
    except OSError as error:
        taken = f"--port: {options.port} is taken; expected a free port, or none for the first that is free"
        raise OSError(taken if options.port else str(error)) from error
    print(f"{address}  (Ctrl-C ends it)", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        page.close()
    return 0


def _opened(session: "Session", path: Path) -> "Session":
    try:
        return session.opened(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
