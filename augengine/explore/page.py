"""The page: Gradio's inputs, and which change of the session each makes."""

import importlib
import os
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from augengine.explore.controls import Control, controls
from augengine.explore.photos import MOST_SIDE_PX
from augengine.explore.scene import PRESETS
from augengine.explore.session import WRONG, Session, Shown, show, told
from augengine.explore.steps import Step, Steps, transforms

HEAD = (
    "<header><h1>augengine explore</h1><p>Build a pipeline and see what it draws: a row for each photo, a column for "
    "each sample of it. The code below is the pipeline that is shown.</p></header>"
)
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none that is fetched
MOST_DRAWS = 8
Change = Callable[..., Session]


def gradio() -> Any:
    """The library, which is told to send nothing home; raises ImportError that says what to install."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        return importlib.import_module("gradio")
    except ImportError as error:
        raise ImportError("explore shows its page with Gradio; pip install 'augengine[explore]'") from error


class Page:
    """The page that begins with `session`; `launch` serves it."""

    def __init__(self, session: Session) -> None:
        self.gr = gr = gradio()
        self.begin, self.first = session, show(session)
        with gr.Blocks(title="augengine explore", analytics_enabled=False, delete_cache=(3600, 3600)) as self.blocks:
            self.session, self.version = gr.State(session), gr.State(0)
            gr.HTML(HEAD)
            with gr.Column(elem_id="ae-page"):
                with gr.Row(elem_id="ae-scene"):
                    self._scene()
                with gr.Column(elem_id="ae-pictures"):
                    self.problem = gr.HTML(self.first.problem)
                    self.grid = gr.HTML(self.first.pictures or "", elem_id="ae-grid")
                with gr.Column(elem_id="ae-controls"):
                    self._controls()
                with gr.Column(elem_id="ae-code"):
                    self._code()
            self._wire()

    def launch(self, port: int | None, open_browser: bool) -> str:
        """Serves the page on this machine alone and returns its address."""
        colors = {"primary_hue": "blue", "secondary_hue": "blue", "neutral_hue": "zinc"}
        css = files("augengine.explore").joinpath("page.css").read_text(encoding="utf-8")
        served = {"server_name": "127.0.0.1", "server_port": port, "share": False, "inbrowser": open_browser}
        looks = {"theme": self.gr.themes.Default(**colors, **FONTS), "css": css, "footer_links": []}
        quiet = {"quiet": True, "prevent_thread_lock": True, "ssr_mode": False, "enable_monitoring": False}
        return str(self.blocks.launch(**served, **looks, **quiet)[1])

    def close(self) -> None:
        """Ends the server."""
        self.blocks.close(verbose=False)

    def _scene(self) -> None:
        gr, scene = self.gr, self.begin.scene
        self.seed = gr.Number(scene.seed, precision=0, label="Seed", elem_id="ae-seed")
        self.epoch = gr.Slider(0, 99, scene.epoch, step=1, label="Epoch", elem_id="ae-epoch")
        self.draws = gr.Slider(1, MOST_DRAWS, scene.draws, step=1, label="Samples", elem_id="ae-draws")
        self.side = gr.Slider(16, MOST_SIDE_PX, scene.side_px, step=1, label="Photo side (px)", elem_id="ae-side")

    def _controls(self) -> None:
        gr = self.gr
        with gr.Row(elem_id="ae-photos"):
            self.upload = gr.UploadButton("Add photos", file_count="multiple", file_types=["image"], size="sm",
                                          elem_id="ae-upload")  # fmt: skip
            self.drawn = gr.Button("Drawn photos", size="sm", elem_id="ae-drawn")
        self.preset = gr.Dropdown(list(PRESETS), value=None, label="Begin with a preset", elem_id="ae-preset")

        @gr.render(  # type: ignore[untyped-decorator]
            inputs=[self.session], triggers=[self.version.change, self.blocks.load], show_progress="hidden"
        )
        def _(session: Session) -> None:
            self._steps(session, session.scene.steps)

        self.add = gr.Dropdown(list(transforms()), value=None, label="Add a transform", elem_id="ae-add")

    def _code(self) -> None:
        gr = self.gr
        with gr.Tab("Python"):
            self.python = gr.Code(self.first.python or "", language="python", show_label=False, interactive=False,
                                  show_line_numbers=False, elem_id="ae-python")  # fmt: skip
        with gr.Tab("JSON"):
            self.json = gr.Code(self.first.json or "", language="json", show_label=False, interactive=True, lines=12,
                                max_lines=24, show_line_numbers=False, elem_id="ae-json")  # fmt: skip
            self.use = gr.Button("Use this JSON", size="sm", elem_id="ae-use")

    def _wire(self) -> None:
        for name, one in (("seed", self.seed), ("epoch", self.epoch), ("draws", self.draws), ("side_px", self.side)):
            self._on(one.input, lambda s, value, name=name: s.with_number(name, value), [one])
        self._on(self.preset.input, lambda s, name: s.begun(name) if name else s, [self.preset], rebuild=True)
        self._on(self.add.input, lambda s, name: s.added(name) if name else s, [self.add], rebuild=True)
        self._on(self.use.click, Session.opened, [self.json], rebuild=True)
        self._on(self.upload.upload, Session.uploaded, [self.upload], progress="minimal")
        self._on(self.drawn.click, Session.with_drawn_photos)

    def _on(
        self, event: Any, change: Change, inputs: Sequence[Any] = (), rebuild: bool = False, progress: str = "hidden"
    ) -> None:
        """Lets the event change the session and show it; `rebuild`: the steps' controls are made anew."""
        outputs = [self.session, self.problem, self.grid, self.python, self.json]
        outputs += [self.version, self.seed, self.side, self.add] if rebuild else []

        def run(session: Session, version: int, *values: Any) -> list[Any]:
            try:
                session = change(session, *values)
                shown = show(session)
            except WRONG as error:
                shown = told(error)
            return [session, *self._parts(shown), *(self._rebuilt(session, version) if rebuild else [])]

        event(run, [self.session, self.version, *inputs], outputs, show_progress=progress, trigger_mode="always_last",
              concurrency_limit=1, concurrency_id="explore", api_visibility="private")  # fmt: skip

    def _parts(self, shown: Shown) -> list[Any]:
        parts = (shown.pictures, shown.python, shown.json)
        return [shown.problem, *(self.gr.skip() if part is None else part for part in parts)]

    def _rebuilt(self, session: Session, version: int) -> list[Any]:
        scene, gr = session.scene, self.gr
        return [version + 1, gr.Number(value=scene.seed), gr.Slider(value=scene.side_px), None]

    def _steps(self, session: Session, steps: Steps) -> None:
        for step in steps:
            with self.gr.Column(elem_classes="ae-step", elem_id=f"ae-step-{step.uid}"):
                self._tools(step)
                opened = step.uid in session.newest
                with self.gr.Accordion(step.name, open=opened, key=(step.uid, "open"), preserved_by_key="open"):
                    self._body(session, step)

    def _tools(self, step: Step) -> None:
        gr, uid = self.gr, step.uid
        with gr.Row(elem_classes="ae-tools"):
            for sign, name, change in (
                ("↑", "up", lambda s: s.moved(uid, -1)),
                ("↓", "down", lambda s: s.moved(uid, 1)),
                ("✕", "remove", lambda s: s.removed(uid)),
            ):
                button = gr.Button(sign, size="sm", min_width=0, elem_id=f"ae-{name}-{uid}")
                self._on(button.click, change, rebuild=True)

    def _body(self, session: Session, step: Step) -> None:
        gr, uid = self.gr, step.uid
        gr.Markdown((step.cls.__doc__ or "").split("\n\n")[0], elem_classes="ae-doc")
        for control in controls(step):
            inputs = self._inputs(control, uid)

            def change(session: Session, *shown: Any, control: Control = control) -> Session:
                return session.given(uid, control.field, control.read(*shown))

            for one in inputs:
                self._on(one.input, change, inputs, rebuild=control.kind == "choice")
        if step.holds:
            self._steps(session, step.inner)
            add = gr.Dropdown(list(transforms()), value=None, label="Add a transform inside", interactive=True,
                              elem_id=f"ae-{uid}-add")  # fmt: skip
            self._on(add.input, lambda s, name: s.added(name, uid) if name else s, [add], rebuild=True)

    def _inputs(self, control: Control, uid: int) -> list[Any]:
        gr, name, shown = self.gr, f"ae-{uid}-{control.field}", control.shown
        if control.kind == "sliders":
            ends = {"minimum": control.low, "maximum": control.high, "step": control.step}
            return [
                gr.Slider(value=value, label=label, elem_id=f"{name}-{i}", interactive=True, **ends)
                for i, (value, label) in enumerate(zip(shown, control.labels, strict=True))
            ]
        looks = {"value": shown[0], "label": control.label, "elem_id": name, "interactive": True}
        if control.kind == "choice":
            return [gr.Dropdown(list(control.choices), **looks)]
        kinds = {"switch": gr.Checkbox, "color": gr.ColorPicker, "text": gr.Textbox}
        return [kinds[control.kind](**looks)]
