"""The words of the page, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

LANGUAGES = ("en", "zh")


class Words(NamedTuple):
    """One text in every language of the page."""

    en: str
    zh: str


PAGE: Mapping[str, Words] = MappingProxyType(
    {
        "title": Words("Voice Server", "语音转换服务"),
        "heading": Words("# Voice Server", "# 语音转换服务"),
        "subtitle": Words(
            "Say it in another voice: words and melody stay, the speaker changes.",
            "换一个声音来说：内容和语调不变，说话人改变。",
        ),
        "theme": Words("Light / dark", "明暗切换"),
        "recording": Words("Recording", "原始录音"),
        "voice": Words("Voice", "目标声音"),
        "convert": Words("Convert", "开始转换"),
        "stop": Words("Stop", "停止"),
        "result": Words("Result", "转换结果"),
        "format": Words("File format", "文件格式"),
        "download": Words("Download", "下载"),
        "download_as": Words("Download {audio_format}", "下载 {audio_format}"),
        "more_options": Words("More options", "更多选项"),
        "as_voice": Words("As the voice states", "按声音自带设置"),
        "privacy": Words(
            "Recordings and results stay on this server and are deleted after an hour.",
            "录音和结果只保存在本服务器上，一小时后删除。",
        ),
        "empty": Words(
            "The result appears here: listen, compare the pitch, download.",
            "转换结果会显示在这里：可以试听、对比音高、下载。",
        ),
        # The card of a voice
        "card_rate": Words("{khz:g} kHz", "{khz:g} kHz"),
        "card_version": Words("RVC {version}", "RVC {version}"),
        "card_f0": Words("follows pitch", "跟随音高"),
        "card_no_f0": Words("own pitch", "不跟随音高"),
        "card_speaker": Words("1 speaker", "1 位说话人"),
        "card_speakers": Words("{count} speakers", "{count} 位说话人"),
        "card_index": Words("with index", "有索引"),
        "card_no_index": Words("no index", "无索引"),
        "card_origin": Words("Origin and licence", "来源与许可"),
        "card_broken": Words("This voice cannot be used.", "这个声音无法使用。"),
        "no_voice_title": Words("No voice is installed yet", "尚未安装任何声音"),
        "no_voice_put": Words(
            "Put a voice (.pth or .safetensors) into the folder models/voices, or build the "
            "demo voice:",
            "请把声音文件（.pth 或 .safetensors）放入 models/voices 文件夹，或生成演示声音：",
        ),
        "no_voice_reload": Words("Then reload this page.", "然后刷新本页面。"),
        # Progress
        "waiting": Words("Waiting for a free place, loading the voice", "排队并载入声音"),
        "stage_f0": Words("Reading the melody", "分析音高"),
        "stage_feature": Words("Reading the words", "提取语音内容"),
        "stage_synth": Words("Speaking in the new voice", "合成新声音"),
        "drawing": Words("Drawing the pitch curves", "绘制音高曲线"),
        "stopping": Words("Stopping …", "正在停止……"),
        "stopped": Words("Stopped. Nothing was kept.", "已停止，未保留任何结果。"),
        "done": Words(
            "Done: {audio:.1f} s of audio in {spent:.1f} s.",
            "完成：{audio:.1f} 秒音频，用时 {spent:.1f} 秒。",
        ),
        "failed": Words("Not converted", "未能转换"),
        "error_code": Words("Error code", "错误代码"),
        "seconds": Words("{seconds:.1f} s", "{seconds:.1f} 秒"),
        "seconds_fine": Words("{seconds:.2f} s", "{seconds:.2f} 秒"),
        # Timings
        "timings": Words("Time spent in each stage", "各阶段用时"),
        "time_queue": Words("Waiting", "排队"),
        "time_load": Words("Loading", "载入"),
        "time_feature": Words("Words", "内容"),
        "time_f0": Words("Melody", "音高"),
        "time_synth": Words("Voice", "合成"),
        "time_total": Words("Total", "总计"),
        "warning": Words("Note", "提示"),
        # Charts
        "wave_label": Words(
            "Waveform of the {series}, {duration:.1f} seconds long.",
            "{series}的波形，长 {duration:.1f} 秒。",
        ),
        "pitch_label": Words(
            "Pitch over time on a logarithmic axis in Hz. {parts}",
            "音高随时间变化，对数坐标，单位赫兹。{parts}",
        ),
        "pitch_part": Words(
            "{series}: {low:.0f} to {high:.0f} Hz, median {median:.0f} Hz.",
            "{series}：{low:.0f} 至 {high:.0f} Hz，中位数 {median:.0f} Hz。",
        ),
        "pitch_none": Words("{series}: no voiced sound.", "{series}：没有可测的音高。"),
        "no_curves": Words(
            "The pitch curves could not be drawn.",
            "无法绘制音高曲线。",
        ),
    }
)


def language_of(accept_language: str | None) -> str:
    """The page's language for a browser that sends `accept_language`: its first choice rules."""
    first = (accept_language or "").split(",")[0].split(";")[0].strip().lower()
    return "zh" if first.split("-")[0] == "zh" else "en"


def pick(words: Words, language: str) -> str:
    """`words` in `language`, which is one of `LANGUAGES`."""
    return words.zh if language == "zh" else words.en


def say(key: str, language: str, **values: object) -> str:
    """The page's text `key` in `language` with `values` filled in."""
    return pick(PAGE[key], language).format(**values)
