"""`Session`: what one tab of the browser looks at, its changes, and what the page shows of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path

from augengine.explore.drawn import drawn_photos
from augengine.explore.grid import grid
from augengine.explore.photos import MOST_PHOTOS, Photo, read_photos
from augengine.explore.scene import Scene, add, opened, pipeline_of, preset
from augengine.explore.snippet import snippet
from augengine.explore.steps import edit, find, give, move, start
from augengine.pipeline import Pipeline

WRONG = (TypeError, ValueError, OSError, RuntimeError, MemoryError)  # what the page tells in place of the pictures


@dataclass(frozen=True)
class Session:
    """The scene, the photos (without own ones: three drawn ones), and the steps whose controls are to be open."""

    scene: Scene
    photos: tuple[Photo, ...] = field(default_factory=drawn_photos)
    newest: tuple[int, ...] = ()

    def with_scene(self, **changes: object) -> "Session":
        """Other fields of the scene."""
        return replace(self, scene=replace(self.scene, **changes))  # type: ignore[arg-type]

    def with_number(self, name: str, value: float | None) -> "Session":
        """Another whole number in that field of the scene; the same where its box is empty."""
        return self if value is None else self.with_scene(**{name: int(value)})

    def begun(self, name: str) -> "Session":
        """With the preset's steps."""
        return replace(self, scene=preset(name, self.scene))

    def opened(self, text: str) -> "Session":
        """With the pipeline of that JSON; raises ValueError."""
        return replace(self, scene=opened(Pipeline.from_json(text), self.scene))

    def added(self, name: str, into: int | None = None) -> "Session":
        """With one more step, in the step `into` or where the pipeline takes it."""
        step = start(name)
        return replace(self, scene=add(self.scene, step, into), newest=(*self.newest, step.uid))

    def removed(self, uid: int) -> "Session":
        """Without that step."""
        return self.with_scene(steps=edit(self.scene.steps, uid, lambda _: ()))

    def moved(self, uid: int, by: int) -> "Session":
        """With that step `by` places later."""
        return self.with_scene(steps=move(self.scene.steps, uid, by))

    def given(self, uid: int, name: str, value: object) -> "Session":
        """With a field of that step given; the same where the step is gone."""
        return self.with_scene(steps=give(self.scene.steps, uid, name, value)) if find(self.scene.steps, uid) else self

    def uploaded(self, paths: Sequence[str]) -> "Session":
        """With these photos beside one's own; raises ValueError that names the file, not its folder."""
        photos = [photo for photo in self.photos if not photo.drawn]
        if len(photos) + len(paths) > MOST_PHOTOS:
            got = f"{len(paths)} more photos" if photos else f"{len(paths)} photos"
            raise ValueError(f"Upload: got {got}; the page shows {MOST_PHOTOS} at most")
        for path in paths:
            try:
                photos += read_photos([path])
            except ValueError as error:
                raise ValueError(str(error).replace(path, Path(path).name)) from error
        return replace(self, photos=tuple(photos))

    def with_drawn_photos(self) -> "Session":
        """With the drawn photos alone."""
        return replace(self, photos=drawn_photos())


@dataclass(frozen=True)
class Shown:
    """What the page shows: a sentence where something is wrong, and parts, of which None stay as they are."""

    problem: str = ""
    pictures: str | None = None
    python: str | None = None
    json: str | None = None


def show(session: Session) -> Shown:
    """The session's pictures and code."""
    try:
        pipe = pipeline_of(session.scene)
    except WRONG as error:
        return Shown(_problem(f"{error}. Pictures and code are of the last pipeline that was right."))
    code = (snippet(pipe), pipe.to_json())
    try:
        return Shown("", grid(pipe, session.scene, session.photos), *code)
    except WRONG as error:
        return Shown(_problem(f"{error}. Pictures are of the last pipeline that these photos fit."), None, *code)


def told(error: Exception) -> Shown:
    """What the page shows of a change that could not be made."""
    return Shown(_problem(f"{error}."))


def _problem(sentence: str) -> str:
    return f'<p class="ae-problem" role="alert">{escape(sentence)}</p>'
