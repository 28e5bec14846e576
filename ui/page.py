"""What the convert page consists of."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr


@dataclass(frozen=True, eq=False)
class Page:
    """The components that handlers read and write."""

    recording: gr.Audio
    voice: gr.Dropdown
    card: gr.HTML
    options: list[gr.components.Component]
    convert: gr.Button
    stop: gr.Button
    status: gr.HTML
    result: gr.Audio
    figure: gr.HTML
    details: gr.HTML
    audio_format: gr.Radio
    download: gr.DownloadButton
