"""What people read when something fails, by the error's stable code."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ui.text import Words, pick

UNKNOWN = "internal_error"

ERRORS: Mapping[str, Words] = MappingProxyType(
    {
        "internal_error": Words(
            "Something went wrong inside the server. Try again; the log has the details.",
            "服务器内部出错。请重试，详情见日志。",
        ),
        "recording_required": Words(
            "There is no recording yet. Upload a file or record one first.",
            "还没有录音。请先上传文件或录制一段。",
        ),
        "recording_gone": Words(
            "The recording is no longer on the server. Please upload it again.",
            "录音已从服务器删除，请重新上传。",
        ),
        # The recording
        "undecodable_audio": Words(
            "This file is not audio that can be read, or it is damaged. "
            "Try another file, for example WAV, MP3, FLAC or M4A.",
            "无法读取该音频文件，可能已损坏或格式不符。请换一个文件，例如 WAV、MP3、FLAC 或 M4A。",
        ),
        "invalid_audio": Words(
            "This recording cannot be converted. Try another one.",
            "无法转换这段录音，请换一段。",
        ),
        "empty_audio": Words(
            "This recording is empty. Record again or choose another file.",
            "这段录音是空的。请重新录制或选择其他文件。",
        ),
        "non_finite_audio": Words(
            "This recording holds values that are not numbers. Export it again and retry.",
            "录音中含有无效数值。请重新导出后再试。",
        ),
        "audio_too_long": Words(
            "This recording is too long for this server. Cut it into shorter parts.",
            "录音超过服务器允许的长度，请剪短后再试。",
        ),
        # The options
        "invalid_option": Words(
            "One of the options has a value that is not allowed. Check them and try again.",
            "有一个选项的值不在允许范围内，请检查后重试。",
        ),
        "speaker_out_of_range": Words(
            "This voice has no speaker of that number. Try 0.",
            "该声音没有这个编号的说话人，请试试 0。",
        ),
        # The voice and what it needs
        "voice_not_found": Words(
            "This voice is no longer there. Reload the page and choose another.",
            "该声音已不存在。请刷新页面后重新选择。",
        ),
        "voice_required": Words("Choose a voice first.", "请先选择一个声音。"),
        "index_not_found": Words("The voice's index is missing.", "找不到该声音的索引文件。"),
        "invalid_checkpoint": Words(
            "The file of this voice is damaged or not a voice. Choose another.",
            "该声音文件已损坏或不是声音模型，请换一个。",
        ),
        "unsafe_checkpoint": Words(
            "The file of this voice holds code and was not opened. Choose another.",
            "该声音文件包含代码，出于安全未打开。请换一个。",
        ),
        "training_checkpoint": Words(
            "This file is from the middle of a training, not a finished voice.",
            "该文件是训练过程中的检查点，不是成品声音。",
        ),
        "unsupported_vocoder": Words(
            "This voice was made with a vocoder that is not supported.",
            "该声音使用了不受支持的声码器。",
        ),
        "invalid_weights": Words(
            "A model that the conversion needs is damaged. The server's operator can reinstall it.",
            "转换所需的模型文件已损坏，请联系管理员重新安装。",
        ),
        "missing_weights": Words(
            "A model that this needs is not installed. Try another pitch estimator or voice.",
            "所需的模型未安装。请换一种音高提取方法或声音。",
        ),
        "missing_package": Words(
            "A program part that this needs is not installed. Try another pitch estimator.",
            "所需的组件未安装。请换一种音高提取方法。",
        ),
        "content_encoder_mismatch": Words(
            "The content model that this voice needs is not installed.",
            "未安装该声音所需的内容编码模型。",
        ),
        "invalid_index": Words(
            "The voice's index is damaged. Set “Index rate” to 0 to go without it.",
            "该声音的索引已损坏。把“索引比例”设为 0 即可不使用索引。",
        ),
        "index_mismatch": Words(
            "The index does not belong to this voice. Set “Index rate” to 0.",
            "索引与该声音不匹配。请把“索引比例”设为 0。",
        ),
        "non_finite_output": Words(
            "The voice gave no usable sound. Try other options or another voice.",
            "该声音没有产生可用的结果。请更换选项或声音。",
        ),
        # The server
        "out_of_memory": Words(
            "There is not enough memory free just now. Try again in a moment, or a shorter part.",
            "目前内存不足。请稍后重试，或缩短录音。",
        ),
        "insufficient_memory": Words(
            "This voice needs more memory than the server has.",
            "该声音所需的内存超过服务器的容量。",
        ),
        "insufficient_vram": Words(
            "The graphics card is full just now. Try again in a moment.",
            "显卡内存暂时已满，请稍后重试。",
        ),
        "worker_lost": Words(
            "The part of the server that was converting has stopped. It is being restarted; "
            "try again in a moment.",
            "执行转换的进程已停止，正在自动重启。请稍后重试。",
        ),
        "deadline_exceeded": Words(
            "This took longer than the server allows. Try a shorter part.",
            "转换超过了允许的时间。请缩短录音后再试。",
        ),
        "cancelled": Words("The conversion was stopped.", "转换已停止。"),
        "queue_full": Words(
            "Many conversions are waiting already. Try again in a moment.",
            "当前排队人数较多，请稍后重试。",
        ),
        "draining": Words(
            "The server is about to stop and takes no new work. Try again in a minute.",
            "服务器即将停止，不再接受新任务。请稍后重试。",
        ),
        "device_unavailable": Words(
            "The device that should do the work is not there.",
            "指定的计算设备不可用。",
        ),
        "load_failed": Words(
            "The voice could not be loaded. Try again in a moment or choose another.",
            "声音载入失败。请稍后重试，或换一个声音。",
        ),
        "load_backoff": Words(
            "The voice could not be loaded a moment ago. Try again shortly.",
            "声音刚才载入失败，请稍后再试。",
        ),
        # Files and voices that are taken in
        "upload_too_large": Words(
            "The file is larger than this server takes. Use a smaller one, or ask the operator.",
            "文件超过服务器允许的大小。请换小一点的文件，或联系管理员。",
        ),
        "unsafe_archive": Words(
            "The archive holds more than a voice and its index, so it was not opened.",
            "压缩包中有声音不需要的内容，因此没有打开。请只打包声音和它的索引。",
        ),
        "inspection_failed": Words(
            "The file could not be examined in the time and memory for uploads; it may be damaged.",
            "在限定的内存和时间内无法检查该文件，它可能已损坏。",
        ),
        "voice_exists": Words(
            "There is already a voice of that name. Choose another name, or replace it.",
            "已有同名的声音。请换一个名称，或选择替换。",
        ),
        # Recordings by address
        "feature_disabled": Words(
            "This is switched off on this server. The operator can switch it on.",
            "此功能在本服务器上已关闭，管理员可以启用。",
        ),
        "address_refused": Words(
            "This address is not on the public network, so nothing was fetched. Use another one.",
            "该地址不在公共网络上，因此没有下载。请换一个地址。",
        ),
        "fetch_failed": Words(
            "The address could not be read. Check it, or upload the file instead.",
            "无法读取该地址。请检查地址，或直接上传文件。",
        ),
        "fetch_timeout": Words(
            "The address took too long to answer. Try again, or upload the file instead.",
            "该地址响应太慢。请重试，或直接上传文件。",
        ),
        # Jobs
        "job_not_found": Words(
            "There is no such job, or it was deleted.",
            "没有这个任务，或已被删除。",
        ),
        "job_not_finished": Words(
            "The job has not finished yet. Wait a little.",
            "任务尚未完成，请稍候。",
        ),
        "job_failed": Words(
            "The job has failed. Start it again, or look at what it says.",
            "任务失败。可以重新开始，或查看原因。",
        ),
        "job_cancelled": Words(
            "The job was cancelled. You can start it again.",
            "任务已取消，可以重新开始。",
        ),
        "job_expired": Words(
            "The job's files were removed, as it ended too long ago. Convert the recording again.",
            "任务结束太久，文件已被删除。请重新转换。",
        ),
        "job_conflict": Words(
            "The job is not in a state for that now. Reload the list.",
            "任务当前的状态不允许此操作，请刷新列表。",
        ),
        "job_files_lost": Words(
            "The job's recordings are no longer on the server. Upload them again.",
            "任务的录音已不在服务器上，请重新上传。",
        ),
        "interrupted": Words(
            "The server stopped twice during this job. Start it again, or ask the operator.",
            "服务器在处理时中断了两次。请重新开始，或联系管理员。",
        ),
        "idempotency_conflict": Words(
            "The same request key was used for something else. Use another one.",
            "同一个请求键已用于其他请求，请换一个。",
        ),
        # Too much at once
        "too_many_jobs": Words(
            "Too many of your jobs are waiting. Come back when some have run.",
            "您等待中的任务太多，请等部分完成后再试。",
        ),
        "too_many_at_once": Words(
            "You have too many requests running. Wait for one to end.",
            "您同时进行的请求太多，请等其中一个结束。",
        ),
        "rate_limited": Words(
            "Too many requests in a short time. Wait a moment.",
            "短时间内请求过多，请稍候。",
        ),
        "disk_full": Words(
            "The server's disk is full. Ask the operator.",
            "服务器磁盘已满，请联系管理员。",
        ),
        "disk_quota_exceeded": Words(
            "The space for jobs is used up. Delete some that have ended.",
            "任务的空间已用完，请删除一些已结束的任务。",
        ),
        "preempted": Words(
            "The operator ended this conversion to free the device. Try again.",
            "管理员为释放设备结束了这次转换，请重试。",
        ),
        "not_ready": Words(
            "The server is still starting. Try again in a moment.",
            "服务器正在启动，请稍后再试。",
        ),
        "no_worker_process": Words(
            "The only device has no process of its own, so it cannot be restarted alone.",
            "唯一的设备没有独立进程，无法单独重启。",
        ),
    }
)


def error_text(code: str, language: str) -> str:
    """What happened and what to do next, in `language`; codes without a text get a general one."""
    return pick(ERRORS.get(code, ERRORS[UNKNOWN]), language)
