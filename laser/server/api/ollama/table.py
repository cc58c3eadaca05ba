"""What is done with the fields of Ollama's requests, where `laser.server.api.dialects` does not say it."""

from __future__ import annotations

from collections.abc import Mapping

from laser.server.api.dialects import MESSAGE, PLACES, Indifferent, Read, Refused, Treatment

HERE: Mapping[str, Treatment] = {
    "truncate": Indifferent.UNSAID,  # a prompt that does not fit is refused, never cut
    "shift": Indifferent.UNSAID,
    **dict.fromkeys(("width", "height", "steps"), Refused((0,))),  # of pictures
}
OPTIONS: Mapping[str, Treatment] = {
    **dict.fromkeys(("num_predict", "temperature", "top_p", "top_k", "min_p", "seed", "stop"), Read.READ),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), Read.READ),
    "num_ctx": Indifferent.TOLD,  # the server's context holds; what does not fit in it is refused
    # how the model is loaded: it is loaded already
    **dict.fromkeys(("num_batch", "num_gpu", "main_gpu", "num_thread", "numa", "low_vram"), Indifferent.UNSAID),
    **dict.fromkeys(("use_mmap", "use_mlock", "f16_kv", "vocab_only", "logits_all"), Indifferent.UNSAID),
    **dict.fromkeys(("embedding_only", "num_keep", "draft_num_predict"), Indifferent.UNSAID),
    # details of what is refused
    **dict.fromkeys(("repeat_last_n", "penalize_newline", "mirostat_tau", "mirostat_eta"), Indifferent.UNSAID),
    "typical_p": Refused((1,)),
    "tfs_z": Refused((1,)),
    "mirostat": Refused((0,)),
    "repeat_penalty": Refused((1,)),
}
OLLAMA_PLACES: Mapping[str, Mapping[str, Treatment]] = {
    **PLACES,
    "messages": {**MESSAGE, **dict.fromkeys(("thinking", "tool_name"), Read.READ)},
    "options": OPTIONS,
}
