"""Two scored systems over a dozen tones, as `asr decode` and `asr score` leave them."""

from __future__ import annotations

import json

import pytest
from scored import Scored, scored_folder
from tones import make_tones
from transcription.tiny import save_tiny_model


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    path = tmp_path_factory.mktemp("report")
    data = make_tones(path / "data", 12, seed=3)
    save_tiny_model(path / "one" / "model.safetensors")
    from asr.models.storage import load_model

    model = {"path": str(path / "one" / "model.safetensors"),
             "fingerprint": load_model(path / "one" / "model.safetensors").fingerprint}
    references = {each.id: each.text or "" for each in data.utterances}
    ids = list(references)
    heard = (references | {ids[0]: "hi hi <b>lo</b>", ids[1]: "</script><script>alert(1)</script>"}, references | {ids[2]: ""})
    (path / "one" / "metrics.csv").write_text("epoch,train_loss,dev_loss,dev_wer,dev_cer\n1,3,2.5,0.9,0.8\n2,1,1.5,,0.3\n")
    folders = []
    for system, hypotheses in zip(("one", "other"), heard):
        folder = scored_folder(path / system / "decode_test", references, hypotheses, data=path / "data", cer=True)
        (folder / "decode.json").write_text(json.dumps({"model": model, "data": str(path / "data"), "real_time_factor": 0.01,
                                                        "settings": {"method": "greedy"}}))
        (folder / "words.ctm").write_text("".join(f"{name} 1 {0.1 + 0.2 * place:.3f} 0.150 {word} 0.9\n" for name in ids
                                                  for place, word in enumerate(hypotheses[name].split())))
        folders.append(folder)
    return Scored(folders[0], folders[1], data, ids)
