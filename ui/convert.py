"""The convert page: a recording and a voice on one side, the result on the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from rvc_core.audio import AUDIO_FORMATS
from rvc_core.options import OPTION_SPECS
from ui.controls import create_control
from ui.handlers import Handlers
from ui.page import Page

if TYPE_CHECKING:
    from server.services import Services

N_ENCODERS = 4  # visitors who change the format at the same time


def create_convert_tab(services: Services, i18n: gr.I18n, blocks: gr.Blocks) -> None:
    """Build the page inside of `blocks` and wire it to `services`."""
    with gr.Row(equal_height=False, elem_id="convert-page"):
        with gr.Column(scale=5, min_width=320):
            left = _create_inputs(i18n)
        with gr.Column(scale=6, min_width=320, elem_id="outcome"):
            right = _create_outputs(i18n)
    page = Page(**left, **right)
    _wire(page, Handlers(services, page), blocks)


def _create_inputs(i18n: gr.I18n) -> dict[str, Any]:
    recording = gr.Audio(
        type="filepath",
        label=i18n("recording"),
        sources=["upload", "microphone"],
        buttons=[],
        elem_id="recording",
    )
    with gr.Group():
        voice = gr.Dropdown([], label=i18n("voice"), elem_id="voice", interactive=True)
        card = gr.HTML(elem_id="voice-card")
    controls: dict[str, gr.components.Component] = {}
    with gr.Group():
        for spec in OPTION_SPECS:
            if not spec.advanced:
                controls[spec.name] = create_control(spec, i18n)
    with gr.Accordion(i18n("more_options"), open=False, elem_id="more-options"):
        for spec in OPTION_SPECS:
            if spec.advanced:
                controls[spec.name] = create_control(spec, i18n)
    options = [controls[spec.name] for spec in OPTION_SPECS]
    return {"recording": recording, "voice": voice, "card": card, "options": options}


def _create_outputs(i18n: gr.I18n) -> dict[str, Any]:
    with gr.Row(elem_id="actions"):
        convert = gr.Button(i18n("convert"), variant="primary", elem_id="convert", scale=3)
        stop = gr.Button(i18n("stop"), interactive=False, elem_id="stop", scale=1, min_width=90)
    status = gr.HTML(elem_id="status")
    result = gr.Audio(
        type="filepath",
        label=i18n("result"),
        interactive=False,
        buttons=[],
        elem_id="result",
    )
    with gr.Row(elem_id="save", equal_height=True):
        audio_format = gr.Radio(
            list(AUDIO_FORMATS), value="wav", label=i18n("format"), elem_id="format", scale=2
        )
        download = gr.DownloadButton(
            i18n("download"),  # type: ignore[arg-type]  # translations work as for gr.Button
            elem_id="download",
            scale=1,
            min_width=120,
        )
    figure = gr.HTML(elem_id="figure")
    details = gr.HTML(elem_id="details")
    return {
        "convert": convert,
        "stop": stop,
        "status": status,
        "result": result,
        "figure": figure,
        "details": details,
        "audio_format": audio_format,
        "download": download,
    }


def _wire(page: Page, handlers: Handlers, blocks: gr.Blocks) -> None:
    hidden: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    blocks.load(
        handlers.refresh, [page.voice], [page.voice, page.card, page.figure], queue=False, **hidden
    )
    page.voice.change(handlers.show_card, [page.voice], [page.card], queue=False, **hidden)
    page.convert.click(
        handlers.convert,
        [page.recording, page.voice, page.audio_format, *page.options],
        [
            *(page.convert, page.stop, page.status, page.result, page.figure),
            *(page.details, page.download),
        ],
        concurrency_limit=None,  # the services' waiting room is the only gate
        trigger_mode="once",
        **hidden,
    )
    page.stop.click(handlers.stop, queue=False, **hidden)
    page.audio_format.change(
        handlers.change_format,
        [page.result, page.audio_format],
        [page.download],
        concurrency_limit=N_ENCODERS,
        **hidden,
    )
