"""The head of the page."""

from __future__ import annotations

import gradio as gr

from ui.theme import FAVICON_PATH

TOGGLE_DARK = "() => { document.body.classList.toggle('dark') }"


def create_header(i18n: gr.I18n) -> None:
    """Name, one sentence and the switch between light and dark."""
    with gr.Row(elem_id="header", equal_height=True):
        gr.HTML(FAVICON_PATH.read_text(encoding="utf-8"), elem_id="mark", min_width=40, scale=0)
        with gr.Column(elem_id="name", min_width=200, scale=1):
            gr.Markdown(i18n("heading"), elem_id="title")
            gr.Markdown(i18n("subtitle"), elem_id="subtitle")
        theme = gr.Button(i18n("theme"), size="sm", elem_id="theme", scale=0, min_width=110)
    theme.click(None, js=TOGGLE_DARK, api_visibility="private")
