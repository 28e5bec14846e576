"""What people read beside each conversion option, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ui.text import Words


class OptionText(NamedTuple):
    """Label and help of one option."""

    label: Words
    help: Words


OPTIONS: Mapping[str, OptionText] = MappingProxyType(
    {
        "semitones": OptionText(
            Words("Pitch shift (semitones)", "变调（半音）"),
            Words(
                "12 is an octave up. Low voice to high voice: about +12; the reverse: -12.",
                "12 为升高一个八度。低音转高音约 +12，高音转低音约 -12。",
            ),
        ),
        "auto_transpose": OptionText(
            Words("Move to the voice's own pitch", "自动移到目标音高"),
            Words(
                "First brings the recording to the voice's pitch; the shift counts from there.",
                "先把录音移到目标声音的音高，再加上变调。",
            ),
        ),
        "f0_method": OptionText(
            Words("Pitch estimator", "音高提取方法"),
            Words(
                "Automatic takes the best one that is installed.",
                "“自动”会选用已安装方法中最好的一个。",
            ),
        ),
        "filter_radius": OptionText(
            Words("Pitch smoothing", "音高平滑"),
            Words(
                "Above 2, a median filter removes single outliers from the pitch curve.",
                "大于 2 时用中值滤波去除音高曲线上的孤立错误点。",
            ),
        ),
        "unvoiced": OptionText(
            Words("Pitch where there is none", "无音高处的处理"),
            Words(
                "What the voice gets as pitch in breaths, pauses and voiceless consonants.",
                "呼吸、停顿和清辅音处交给模型的音高。",
            ),
        ),
        "index_rate": OptionText(
            Words("Index rate", "索引比例"),
            Words(
                "How much of the accent comes from the voice's index, where it has one.",
                "从声音索引中取音色的比例；仅对带索引的声音有效。",
            ),
        ),
        "protect": OptionText(
            Words("Protect", "清辅音保护"),
            Words(
                "Lower keeps breaths and consonants closer to the recording; 0.5 is off.",
                "越小，呼吸声和清辅音越接近原始录音；0.5 为关闭。",
            ),
        ),
        "rms_mix_rate": OptionText(
            Words("Loudness mix", "响度比例"),
            Words(
                "0 follows the loudness of the recording, 1 keeps the voice's own.",
                "0 跟随录音的响度，1 保留声音自身的响度。",
            ),
        ),
        "output_sample_rate": OptionText(
            Words("Sample rate of the result", "输出采样率"),
            Words("In Hz.", "单位赫兹。"),
        ),
        "loudnorm": OptionText(
            Words("Even out the loudness", "响度标准化"),
            Words("Brings the result to -16 LUFS.", "把结果调整到 -16 LUFS。"),
        ),
        "speaker_id": OptionText(
            Words("Speaker number", "说话人编号"),
            Words(
                "For voices with several speakers; counts from 0.",
                "用于多说话人的声音，从 0 数起。",
            ),
        ),
        "noise_scale": OptionText(
            Words("Liveliness", "变化程度"),
            Words(
                "More gives livelier speech, less gives steadier speech.",
                "越大越生动，越小越平稳。",
            ),
        ),
        "source_noise": OptionText(
            Words("Breathiness", "气声"),
            Words(
                "Noise in the excitation; 1 is what the voice was trained with.",
                "激励中的噪声；1 为训练时的设置。",
            ),
        ),
        "seed": OptionText(
            Words("Seed", "随机种子"),
            Words("The same seed gives the same result.", "相同的种子得到相同的结果。"),
        ),
        "compatibility": OptionText(
            Words("Results like", "兼容方式"),
            Words(
                "“official” repeats Official RVC, its shorter lengths included.",
                "“official”与官方 RVC 的结果一致，包括其略短的长度。",
            ),
        ),
        "precision": OptionText(
            Words("Precision", "计算精度"),
            Words(
                "“fast” may use 16-bit arithmetic where that is quicker.",
                "“fast”可能使用 16 位运算以提高速度。",
            ),
        ),
    }
)

# Choices that are words; names such as rmvpe stay as they are in every language.
CHOICES: Mapping[str, Words] = MappingProxyType(
    {
        "f0_method.auto": Words("Automatic", "自动"),
        "auto_transpose.true": Words("On", "开"),
        "auto_transpose.false": Words("Off", "关"),
        "output_sample_rate.0": Words("The voice's own", "声音自身的采样率"),
        "unvoiced.keep": Words("Keep none (0 Hz)", "保持无音高（0 Hz）"),
        "unvoiced.interpolate": Words("Interpolate", "插值"),
        "unvoiced.protect": Words("Interpolate, protect consonants", "插值并保护清辅音"),
        "compatibility.standard": Words("Standard", "标准"),
        "compatibility.official": Words("Official RVC", "官方 RVC"),
        "precision.exact": Words("Exact", "精确"),
        "precision.fast": Words("Fast", "快速"),
    }
)
