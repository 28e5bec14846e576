"""The look of the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradio.themes import Base

FOLDER = Path(__file__).parent
CSS_PATH = FOLDER / "style.css"
FAVICON_PATH = FOLDER / "favicon.svg"
CJK_FONTS = ("Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei")


def create_theme() -> Base:
    """Calm and flat: slate and teal, a font from the package, Chinese fonts of the system."""
    from gradio.themes import Default
    from gradio.themes.utils import colors, fonts, sizes

    return Default(
        primary_hue=colors.teal,
        secondary_hue=colors.teal,
        neutral_hue=colors.slate,
        radius_size=sizes.radius_lg,
        font=[fonts.LocalFont("IBM Plex Sans"), *CJK_FONTS, "system-ui", "sans-serif"],
        font_mono=[fonts.LocalFont("IBM Plex Mono"), "ui-monospace", "monospace"],
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        slider_color="*primary_600",
    )
